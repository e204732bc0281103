--[[
batch: open a batch before its jobs are added, and seal it when all of them are.

Called by  batches.Batching
ARGV 1     now_ms   Unix time in milliseconds; 0 = Redis's clock
ARGV 2     verb     open or seal
ARGV 3     id       the batch
ARGV 4     JSON     open: {name, by, total (as planned), maker (the job that makes it, or ""),
                    cb (what lib/insert takes, absent: no callback)}; seal: nothing
ARGV 5     envelope of the callback, opaque bytes; may be empty
Returns    1 when done, 0 when it was done before
Touches    one batch; seal adds the callback where every member has ended already
Cost       O(log b): b batches of the last thirty days
]]
--@include lib/insert
clock(ARGV[1])
local id, key = ARGV[3], K.batch..ARGV[3]
if ARGV[2] == 'open' then
  if redis.call('EXISTS', key) == 1 then return 0 end
  local ask = cjson.decode(ARGV[4])
  redis.call('HSET', key, 'name', ask.name, 'by', ask.by, 'made', CLOCK, 'total', num(ask.total),
    'maker', ask.maker)
  if ask.cb then redis.call('HSET', key, 'cb', cjson.encode(ask.cb), 'ce', ARGV[5], 'task', ask.cb.t) end
  redis.call('PEXPIRE', key, BATCH_KEPT_MS * 3)
  redis.call('ZADD', K.adding, CLOCK, id)
  redis.call('ZADD', K.batches, CLOCK, id)
  redis.call('ZREMRANGEBYSCORE', K.batches, '-inf', num(CLOCK_MS - BATCH_KEPT_MS * 3))
  return 1
end
may_exceed_memory()
local now = redis.call('HMGET', key, 'sealed', 'closed', 'ended')
if now[1] and not now[2] then return 0 end
if not now[3] then redis.call('HDEL', key, 'closed') end
return seal_batch(id)
