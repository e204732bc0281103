--[[
batch: jobs added together, in b:<id>: name, by, made ms, total, gone (of those, forgotten by a flush),
sealed (all were added), the seven states (how many members stand in each), cb and ce (spec and envelope
of the callback), job (its id), ended ms. The callback is added by the script that ends the last member,
once.
]]
--@include lib/counts
local BATCH_KEPT_MS = 2592000000
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
