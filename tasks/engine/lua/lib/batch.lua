--[[
batch: jobs added together, in b:<id>: name, by, made ms, maker (the job that adds them), total (as
planned, until it is sealed), gone (of those, forgotten by a flush), sealed (all were added), closed (ms;
sealed since nothing was heard of the maker), the seven states (how many members stand in each), cb and
ce (spec and envelope of the callback), job (its id), ended ms. The callback is added by the script that
ends the last member, once. `adding` has those that are not sealed, by when their maker was last heard of.
]]
--@include lib/counts
local BATCH_KEPT_MS, UNHEARD_MS, CLOSED_AT_ONCE = 2592000000, 900000, 20
local add_callback -- lib/insert puts itself here: a script that ends jobs includes it
local function in_batch(job, state, by)
  local key = K.batch..job.bt
  if redis.call('EXISTS', key) == 1 then redis.call('HINCRBY', key, state, by) end
end
local function end_batch(bid)
  local key = K.batch..bid
  local now = redis.call('HMGET', key, 'total', 'sealed', 'ended', 'completed', 'failed', 'cancelled',
    'cb', 'ce', 'gone')
  if not now[2] then return end
  if now[9] and tonumber(now[9]) >= tonumber(now[1]) then
    redis.call('DEL', key)
    redis.call('ZREM', K.batches, bid)
    redis.call('ZREM', K.adding, bid)
    return
  end
  if now[3] then return end
  local final = tonumber(now[4] or '0') + tonumber(now[5] or '0') + tonumber(now[6] or '0')
  if final < now[1] - (now[9] or 0) then return end
  redis.call('HSET', key, 'ended', CLOCK)
  if now[7] then redis.call('HSET', key, 'job', add_callback(cjson.decode(now[7]), now[8])[2]) end
  redis.call('PEXPIRE', key, BATCH_KEPT_MS)
end
-- A flush forgot a member; a batch that has no other goes too, and calls nothing back.
local function leave_batch(bid)
  if redis.call('EXISTS', K.batch..bid) == 0 then return end
  redis.call('HINCRBY', K.batch..bid, 'gone', 1)
  end_batch(bid)
end
local STATES_OF_BATCH = {'scheduled', 'waiting', 'active', 'retrying', 'completed', 'failed', 'cancelled', 'gone'}
-- As many as are there is how many it has.
local function count_batch(key)
  local total = 0
  for _, n in ipairs(redis.call('HMGET', key, unpack(STATES_OF_BATCH))) do total = total + tonumber(n or '0') end
  redis.call('HSET', key, 'total', num(total))
end
-- No more jobs come.
local function seal_batch(bid)
  local key = K.batch..bid
  redis.call('ZREM', K.adding, bid)
  if redis.call('EXISTS', key) == 0 then return 0 end
  count_batch(key)
  redis.call('HSET', key, 'sealed', '1')
  end_batch(bid)
  return 1
end
-- A job was added. A batch that was closed too early is open again; one that its maker closed meanwhile
-- waits for that job too. Not one that has ended.
local function hear_batch(bid)
  local now = redis.call('HMGET', K.batch..bid, 'made', 'sealed', 'closed', 'ended')
  if not now[1] or now[4] then return end
  if now[2] and not now[3] then return count_batch(K.batch..bid) end
  if now[3] then redis.call('HDEL', K.batch..bid, 'sealed', 'closed') end
  redis.call('ZADD', K.adding, CLOCK, bid)
end
-- Close batches whose maker adds no more and is no job that runs.
local function close_unheard_batches()
  local before = num(CLOCK_MS - UNHEARD_MS)
  for _, bid in ipairs(redis.call('ZRANGEBYSCORE', K.adding, '-inf', before, 'LIMIT', 0, CLOSED_AT_ONCE)) do
    local maker = redis.call('HGET', K.batch..bid, 'maker')
    if maker and redis.call('HGET', K.job..maker, 's') == 'active' then
      redis.call('ZADD', K.adding, CLOCK, bid)
    elseif seal_batch(bid) == 1 and redis.call('EXISTS', K.batch..bid) == 1 then
      redis.call('HSET', K.batch..bid, 'closed', CLOCK)
    end
  end
end
