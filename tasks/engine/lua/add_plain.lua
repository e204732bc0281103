--[[
add_plain: add jobs of the usual kind: no id known, no unique key, batch or due time, and all of one
queue, task, priority, parent and tags.

Called by  adding
ARGV       lib/adding; 5: a job that has to be stored before these, or ""; 6: (100 - priority) * 2^40;
           7: where the first id is; 8: how many words there are for each
ARGV 9..   further figures, name and value: `by` (first), p, m, tg
then       id, envelope (opaque bytes) and, where that is a third word, argument indexes of each, at most 250
Returns    1, or 0: use `add`, or 2: not yet
Touches    new jobs
Cost       O(n log m): n jobs, m jobs in the state
]]
--@include lib/adding
local after = ARGV[5]
-- Those before were not stored after all (refused, or the script was not known yet).
if after ~= '' and call('EXISTS', K.job..after, K.final..after) == 0 then return 2 end
local names, texts, step = {}, {}, tonumber(ARGV[8])
local before, indexed = ARGV[7] - step, step == 3
local jobs = (#ARGV - before + 1) / step - 1
for n = 1, jobs do
  local id = ARGV[before + step * n]
  names[3 * n - 2], names[3 * n - 1], names[3 * n] = K.job..id, K.final..id, K.result..id
  texts[2 * n - 1], texts[2 * n] = K.envelope..id, ARGV[before + step * n + 1]
end
if call('EXISTS', unpack(names)) > 0 then return 0 end
local first = ARGV[6] + seq
local score = num(first)
call('MSET', unpack(texts))
call('HSET', names[1], 'sc', score, 't', task, 'q', queue, 'c', now_ms, 'rq', ARGV[4], 's', 'waiting', 'ra', now_ms,
  unpack(ARGV, 9, ARGV[7] - 1))
local function index(id, keys, us)
  for key in string.gmatch(keys, '%S+') do call('ZADD', K.index..key, us, id) end
end
local id = ARGV[before + step]
local changed, waiting = {now_us, id}, {score, id}
if indexed then
  call('HSET', names[1], 'ix', ARGV[before + step + 2])
  index(id, ARGV[before + step + 2], now_us)
end
-- Of the others only score and indexes differ. The score and the time go up by one: their last two
-- digits are cut out of a text, since to write a number costs as much as a command.
local sub = string.sub
local DIGITS = '0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849'
  ..'5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899'
local us_end, score_end = now_us % 100, first % 100
local us_head, score_head = num((now_us - us_end) / 100), num((first - score_end) / 100)
for n = 2, jobs do
  us_end, score_end = us_end + 1, score_end + 1
  if us_end == 100 then us_end, us_head = 0, num(us_head + 1) end
  if score_end == 100 then score_end, score_head = 0, num(score_head + 1) end
  now_us = us_head..sub(DIGITS, 2 * us_end + 1, 2 * us_end + 2)
  score = score_head..sub(DIGITS, 2 * score_end + 1, 2 * score_end + 2)
  local job = names[3 * n - 2]
  id = ARGV[before + step * n]
  call('COPY', names[1], job)
  if indexed then
    local keys = ARGV[before + step * n + 2]
    call('HSET', job, 'sc', score, 'ix', keys)
    index(id, keys, now_us)
  else
    call('HSET', job, 'sc', score)
  end
  changed[2 * n - 1], changed[2 * n] = now_us, id
  waiting[2 * n - 1], waiting[2 * n] = score, id
end
call('ZADD', K.state..queue..':waiting', unpack(changed))
call('ZADD', K.waiting..queue, unpack(waiting))
if before + step > 9 and ARGV[9] == 'by' then call('ZADD', K.children..ARGV[10], unpack(changed)) end
call('ZADD', K.wake..queue, '0', '0')
call('HSET', K.meta, 'clock', now_us, 'seq', num(seq + jobs - 1))
if call('HINCRBY', K.counts, counted..'waiting', num(jobs)) == jobs then call('SADD', K.queues, queue) end
if call('HINCRBY', minute, counted..'n', num(jobs)) == jobs then call('EXPIRE', minute, '176400') end
return 1
