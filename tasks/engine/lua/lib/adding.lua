--[[
adding: what add_one and add_plain have in common, in a straight line. They write what `add` writes (a
test compares the whole keyspace), and ask the caller to use `add` where anything is known of an id.

ARGV 1     now_ms   Unix time in milliseconds; 0 = Redis's clock
ARGV 2..4  queue, task, nonce of the request
]]
--@include lib/num
local call, queue, task = redis.call, ARGV[2], ARGV[3]
-- Times and scores are texts throughout.
local now_s, now_ms, now_us = 0, ARGV[1], nil
if now_ms ~= '0' then
  now_s, now_us = now_ms / 1000, now_ms..'000'
else
  local time = call('TIME')
  local micros = string.sub('00000'..time[2], -6)
  now_s, now_ms, now_us = time[1], time[1]..string.sub(micros, 1, 3), time[1]..micros
end
local last = call('HMGET', K.meta, 'clock', 'seq')
local clock, seq = last[1] or '0', (last[2] or 0) + 1
if #now_us < #clock or (#now_us == #clock and now_us <= clock) then now_us = num(clock + 1) end
local minute, counted = K.minute..string.format('%d', now_s / 60), queue..'|'..task..'|'
