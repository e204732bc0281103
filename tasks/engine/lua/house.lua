--[[
house: what a worker's housekeeping asks each second: due jobs -> waiting, so that nothing waits for a
fetch; and what time it is, and which operations want to be stepped.

Called by  consumer.JobScheduler
ARGV 1     now_ms   Unix time in milliseconds; 0 = Redis's clock
ARGV 2     limit    most jobs at once, 1 to 500
ARGV 3     proc     the process that asks
Returns    {promoted, next due ms or "", now_ms, {ids of the running operations}}; one process at a time
           hears of those, for 1.5 s; then who asks first, since one that cannot go on asks too
Touches    scheduled and retrying jobs whose time has come
Cost       O(limit * log m + 200)
]]
--@include lib/take
may_exceed_memory()
clock(ARGV[1])
local STEPS_MS = 1500
local function may_step(proc)
  local now = redis.call('HMGET', K.meta, 'stepper', 'steps_until')
  local left = tonumber(now[2] or '0') - CLOCK_MS
  if now[1] and left > 0 and left <= STEPS_MS then return now[1] == proc end
  redis.call('HSET', K.meta, 'stepper', proc, 'steps_until', num(CLOCK_MS + STEPS_MS))
  return true
end
local moved, running = promote(tonumber(ARGV[2])), {}
for _, op in ipairs(redis.call('ZREVRANGE', K.ops, 0, 199)) do
  if redis.call('HGET', K.op..op, 'state') == 'running' then running[#running + 1] = op end
end
if #running > 0 and not may_step(ARGV[3]) then running = {} end
return {moved, next_due(), CLOCK, running}
