--[[
handoff: lend due jobs to Huey's own scheduler, which enqueues each again under the same id.

Called by  storage.read_schedule
ARGV 1     now_ms   Unix time in milliseconds; 0 = Redis's clock
ARGV 2     until    jobs due up to this moment, ms
ARGV 3     keep_ms  when to take back what was never enqueued
Returns    envelopes, soonest first
Touches    scheduled and retrying jobs; a lent job stays in its state until it is added again
Cost       O(due * log m)
]]
--@include lib/move
clock(ARGV[1])
local lent = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', K.due, '-inf', ARGV[2])) do
  redis.call('ZREM', K.due, id)
  local envelope = redis.call('GET', K.envelope..id)
  if envelope then
    redis.call('ZADD', K.handoff, num(CLOCK_MS + tonumber(ARGV[3])), id)
    lent[#lent + 1] = envelope
  end
end
return lent
