--[[
add_plain: add one job of the usual kind in a straight line: no id known, no argument index, unique key, tag,
batch or due time. It writes what `add` writes (a test compares the whole keyspace), and asks the
caller to use `add` where anything is known of the id. Single calls are what a web request waits for,
and each function that a script defines costs time in each call.

Called by  storage.add
ARGV 1     now_ms   Unix time in milliseconds; 0 = Redis's clock
ARGV 2..8  id, queue, task, priority, attempts allowed, nonce of the request, enqueued by or ""
ARGV 9     envelope, opaque bytes
Returns    1, or 0: use `add`
Touches    one new job
Cost       O(log m): m jobs in the state
]]
--@include lib/num
local id, queue, task, priority, allowed = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local job = K.job..id
if redis.call('EXISTS', job, K.final..id, K.result..id) > 0 then return 0 end
-- Times and scores are texts throughout.
local now_s, now_ms, now_us = 0, ARGV[1], nil
if now_ms ~= '0' then
  now_s, now_us = now_ms / 1000, now_ms..'000'
else
  local time = redis.call('TIME')
  local micros = string.sub('00000'..time[2], -6)
  now_s, now_ms, now_us = time[1], time[1]..string.sub(micros, 1, 3), time[1]..micros
end
local last = redis.call('HMGET', K.meta, 'clock', 'seq')
local clock, seq = last[1] or '0', (last[2] or 0) + 1
if #now_us < #clock or (#now_us == #clock and now_us <= clock) then now_us = num(clock + 1) end
local score, place = num((100 - priority) * 1099511627776 + seq), num(seq)
local fields = {'t', task, 'q', queue, 'c', now_ms, 'rq', ARGV[7], 's', 'waiting', 'ra', now_ms, 'sc', score}
if priority ~= '0' then fields[15], fields[16] = 'p', priority end
if allowed ~= '1' then fields[#fields + 1], fields[#fields + 2] = 'm', allowed end
if ARGV[8] ~= '' then fields[#fields + 1], fields[#fields + 2] = 'by', ARGV[8] end
redis.call('SET', K.envelope..id, ARGV[9])
redis.call('HSET', job, unpack(fields))
redis.call('ZADD', K.state..queue..':waiting', now_us, id)
redis.call('ZADD', K.waiting..queue, score, id)
if ARGV[8] ~= '' then redis.call('ZADD', K.children..ARGV[8], now_us, id) end
redis.call('ZADD', K.wake..queue, '0', '0')
redis.call('HSET', K.meta, 'clock', now_us, 'seq', place)
local counted = queue..'|'..task..'|'
if redis.call('HINCRBY', K.counts, counted..'waiting', '1') == 1 then redis.call('SADD', K.queues, queue) end
local minute = K.minute..string.format('%d', now_s / 60)
if redis.call('HINCRBY', minute, counted..'n', '1') == 1 then redis.call('EXPIRE', minute, '176400') end
return 1
