--[[
add_plain: add jobs of the usual kind in a straight line: no id known, no argument index, unique key, tag,
batch or due time, and all of one queue, task and priority. It writes what `add` writes (a test compares
the whole keyspace), and asks the caller to use `add` where anything is known of an id. Single calls are
what a web request waits for, and each function that a script defines costs time in each call.

Called by  adding
ARGV 1     now_ms   Unix time in milliseconds; 0 = Redis's clock
ARGV 2..7  queue, task, priority, attempts allowed, nonce of the request, enqueued by or ""
ARGV 8..   id and envelope (opaque bytes) of each, at most 250
Returns    1, or 0: use `add`
Touches    new jobs
Cost       O(n log m): n jobs, m jobs in the state
]]
--@include lib/num
local queue, task, priority, allowed, by = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[7]
-- Tables with room for one job, the usual case: to grow costs more than to fill.
local names, jobs = {'', '', ''}, (#ARGV - 7) / 2
for n = 1, jobs do
  local id = ARGV[6 + 2 * n]
  names[3 * n - 2], names[3 * n - 1], names[3 * n] = K.job..id, K.final..id, K.result..id
end
if redis.call('EXISTS', unpack(names)) > 0 then return 0 end
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
local first_us, first = now_us, (100 - priority) * 1099511627776 + seq
local score = num(first)
local fields = {'t', task, 'q', queue, 'c', now_ms, 'rq', ARGV[6], 's', 'waiting', 'ra', now_ms, 'sc', score}
if priority ~= '0' then fields[15], fields[16] = 'p', priority end
if allowed ~= '1' then fields[#fields + 1], fields[#fields + 2] = 'm', allowed end
if by ~= '' then fields[#fields + 1], fields[#fields + 2] = 'by', by end
local changed, waiting = {'', ''}, {'', ''}
for n = 1, jobs do
  local id = ARGV[6 + 2 * n]
  if n > 1 then
    now_us, score = num(first_us + n - 1), num(first + n - 1)
    fields[14] = score
  end
  redis.call('SET', K.envelope..id, ARGV[7 + 2 * n])
  redis.call('HSET', K.job..id, unpack(fields))
  changed[2 * n - 1], changed[2 * n] = now_us, id
  waiting[2 * n - 1], waiting[2 * n] = score, id
end
redis.call('ZADD', K.state..queue..':waiting', unpack(changed))
redis.call('ZADD', K.waiting..queue, unpack(waiting))
if by ~= '' then redis.call('ZADD', K.children..by, unpack(changed)) end
redis.call('ZADD', K.wake..queue, '0', '0')
redis.call('HSET', K.meta, 'clock', now_us, 'seq', num(seq + jobs - 1))
local counted, many = queue..'|'..task..'|', jobs == 1 and '1' or num(jobs)
if redis.call('HINCRBY', K.counts, counted..'waiting', many) == jobs then redis.call('SADD', K.queues, queue) end
local minute = K.minute..string.format('%d', now_s / 60)
if redis.call('HINCRBY', minute, counted..'n', many) == jobs then redis.call('EXPIRE', minute, '176400') end
return 1
