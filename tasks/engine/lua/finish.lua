--[[
finish: close what a process finished, where it wants no more jobs: finish_and_fetch without what it
needs to take one, since each function costs time in each call.

Called by  storage.finish_and_fetch
ARGV 1     now_ms   Unix time in milliseconds; 0 = Redis's clock
ARGV 2     JSON     as finish_and_fetch has it; without `plan`
ARGV 3..   texts    as finish_and_fetch has them
Returns    as finish_and_fetch
Touches    jobs whose token matches
Cost       O(done * log m)
]]
--@include lib/commit
may_exceed_memory()
clock(ARGV[1])
local ask = cjson.decode(ARGV[2])
return answered(ask, close(ask), {})
