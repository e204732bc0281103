--[[
search_step: one chunk of a search: keep the ids it found, count, and move the cursor, in one go.

Called by  stepping
ARGV 1     now_ms   Unix time in milliseconds; 0 = Redis's clock
ARGV 2     id       the operation
ARGV 3     before   the cursor this step starts from: a step that another made changes nothing
ARGV 4     after    the cursor afterwards
ARGV 5     last     1 when nothing is left after this chunk
ARGV 6     looked   how many jobs were looked at
ARGV 7     most     how many ids are kept; what is found after them is counted only
ARGV 8..   ids of the jobs that match, the newest change first
Returns    1, or 0 when the operation does not run or another made this step
Touches    the operation
Cost       O(ids)
]]
--@include lib/clock
may_exceed_memory()
clock(ARGV[1])
local KEPT_S = 2592000
local key, ids = K.op..ARGV[2], K.op_ids..ARGV[2]
local now = redis.call('HMGET', key, 'state', 'cursor', 'matched')
if now[1] ~= 'running' or (now[2] or '') ~= ARGV[3] then return 0 end
local room = math.min(tonumber(ARGV[7]) - redis.call('LLEN', ids), #ARGV - 7)
for first = 8, 7 + room, 1000 do
  redis.call('RPUSH', ids, unpack(ARGV, first, math.min(first + 999, 7 + room)))
end
redis.call('EXPIRE', ids, KEPT_S)
redis.call('HSET', key, 'cursor', ARGV[4], 'stepped', num(CLOCK_MS))
local found, looked = #ARGV - 7, tonumber(ARGV[6])
local seen = redis.call('HINCRBY', key, 'done', found) + redis.call('HINCRBY', key, 'skipped', looked - found)
if ARGV[5] == '1' then
  redis.call('HSET', key, 'state', 'done', 'finished', num(CLOCK_MS), 'matched', seen,
    'changed', math.max(0, tonumber(now[3]) - seen))
  redis.call('RPUSH', K.op_events..ARGV[2], num(CLOCK_MS)..'\tdone')
end
return 1
