--[[
add_one: add one job of the usual kind: no id known, no unique key, batch or due time. Single calls are
what a web request waits for; each function and table that a script makes costs time in each call, so
it makes none.

Called by  adding
ARGV       lib/adding; 5, 6: id and envelope (opaque bytes)
ARGV 7..   only where it is not all as usual: (100 - priority) * 2^40; then further figures, name and
           value: p, m, tg, by, ix
Returns    1, or 0: use `add`
Touches    the new job
Cost       O(log m): m jobs in the state
]]
--@include lib/adding
local id = ARGV[5]
local job = K.job..id
if call('EXISTS', job, K.final..id, K.result..id) > 0 then return 0 end
local score = num((ARGV[7] or 109951162777600) + seq)
call('SET', K.envelope..id, ARGV[6])
call('HSET', job, 'sc', score, 't', task, 'q', queue, 'c', now_ms, 'rq', ARGV[4], 's', 'waiting', 'ra', now_ms,
  unpack(ARGV, 8))
for n = 8, #ARGV, 2 do
  local name, value = ARGV[n], ARGV[n + 1]
  if name == 'by' then call('ZADD', K.children..value, now_us, id) end
  if name == 'ix' then
    for key in string.gmatch(value, '%S+') do call('ZADD', K.index..key, now_us, id) end
  end
end
call('ZADD', K.state..queue..':waiting', now_us, id)
call('ZADD', K.waiting..queue, score, id)
call('ZADD', K.wake..queue, '0', '0')
call('HSET', K.meta, 'clock', now_us, 'seq', num(seq))
if call('HINCRBY', K.counts, counted..'waiting', '1') == 1 then call('SADD', K.queues, queue) end
if call('HINCRBY', minute, counted..'n', '1') == 1 then call('EXPIRE', minute, '176400') end
return 1
