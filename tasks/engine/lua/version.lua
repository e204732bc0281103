--[[
version: remember that workers of another version begin, for the marks on charts.

Called by  bookkeeping.note_version
ARGV 1     now_ms   Unix time in milliseconds; 0 = Redis's clock
ARGV 2     version  of the worker that begins
Returns    1 when it is another one than that of the worker before, else 0
Touches    meta, events
Cost       O(log n)
]]
--@include lib/clock
local KEPT_MS = 400 * 86400000
clock(ARGV[1])
if redis.call('HGET', K.meta, 'version') == ARGV[2] then return 0 end
redis.call('HSET', K.meta, 'version', ARGV[2])
redis.call('ZADD', K.events, CLOCK, CLOCK..'\t'..ARGV[2])
redis.call('ZREMRANGEBYSCORE', K.events, '-inf', num(CLOCK_MS - KEPT_MS))
return 1
