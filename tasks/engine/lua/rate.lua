--[[
rate: let one more start in this window, or say when the next window begins.

Called by  locks.JobRateLimit
ARGV 1     now_ms   Unix time in milliseconds; 0 = Redis's clock
ARGV 2     key      Huey's name of the counter
ARGV 3     limit    most starts a window
ARGV 4     per_ms   the window's length; windows begin at whole multiples of it
Returns    {1 allowed or 0, ms until the next window}
Touches    v:n:<counter>, which goes with its window
Cost       O(1)
]]
--@include lib/clock
clock(ARGV[1])
local key, limit, per = K.value..'n:'..ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local left = per - CLOCK_MS % per
if tonumber(redis.call('GET', key) or '0') >= limit then return {0, left} end
if redis.call('INCR', key) == 1 then redis.call('PEXPIRE', key, left) end
return {1, left}
