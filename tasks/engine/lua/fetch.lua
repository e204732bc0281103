--[[
fetch: hand a process the next jobs, where it finished none: finish_and_fetch without what it needs
to close one, since each function costs time in each call.

Called by  storage.finish_and_fetch
ARGV 1     now_ms   Unix time in milliseconds; 0 = Redis's clock
ARGV 2     JSON     as finish_and_fetch has it; `done` is empty
Returns    as finish_and_fetch
Touches    waiting jobs of the queues named
Cost       O(want * queues * log m)
]]
--@include lib/take
may_exceed_memory()
clock(ARGV[1])
local ask = cjson.decode(ARGV[2])
return answered(ask, {}, fetch(ask))
