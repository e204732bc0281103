--[[
batch: jobs added together, in b:<id>: name, by, made ms, total, sealed (all were added), the seven
states (how many members stand in each), cb and ce (spec and envelope of the callback), job (its id),
ended ms. The callback is added by the script that ends the last member, once.
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
    'cb', 'ce')
  if not now[2] or now[3] then return end
  local final = tonumber(now[4] or '0') + tonumber(now[5] or '0') + tonumber(now[6] or '0')
  if final < tonumber(now[1]) then return end
  redis.call('HSET', key, 'ended', CLOCK)
  if now[7] then redis.call('HSET', key, 'job', add_callback(cjson.decode(now[7]), now[8])[2]) end
  redis.call('PEXPIRE', key, BATCH_KEPT_MS)
end
