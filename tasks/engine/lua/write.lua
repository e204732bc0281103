--[[
write: an operator's plain commands in one go, also on a full server: they are what makes room.

Called by  storage.write
ARGV 1     now_ms   Unix time in milliseconds; 0 = Redis's clock (not read)
ARGV 2     JSON     {{command, argument, ...}, ...}, all text
Returns    how many were run
Touches    queue options, a process's wish, the record of an operation
Cost       O(commands)
]]
--@include lib/clock
may_exceed_memory()
local commands = cjson.decode(ARGV[2])
for _, command in ipairs(commands) do redis.call(unpack(command)) end
return #commands
