--[[
bulk_canary: once every job of an operation's canary has ended, go on or pause it and say why.

Called by  stepping
ARGV 1     now_ms   Unix time in milliseconds; 0 = Redis's clock
ARGV 2     id       the operation
Returns    1 when it was judged here, 0 while jobs of the canary still run, or when it was judged before
Touches    the operation
Cost       O(1)
]]
--@include lib/clock
may_exceed_memory()
clock(ARGV[1])
local key = K.op..ARGV[2]
local now = redis.call('HMGET', key, 'state', 'phase', 'done', 'share',
  'end:completed', 'end:failed', 'end:cancelled')
if now[1] ~= 'running' or now[2] ~= 'canary' then return 0 end
local tried, well = tonumber(now[3]), tonumber(now[5] or '0')
local ended = well + tonumber(now[6] or '0') + tonumber(now[7] or '0')
if ended < tried then return 0 end
local said = 'canary: '..num(well)..' of '..num(ended)..' completed'
if well * 100 >= tonumber(now[4]) * ended then
  redis.call('HSET', key, 'phase', 'all')
  said = said..', going on'
else
  said = said..', '..now[4]..' % was asked for'
  redis.call('HSET', key, 'state', 'paused', 'why', said)
  said = said..': paused'
end
redis.call('RPUSH', K.op_events..ARGV[2], CLOCK..'\t'..said)
return 1
