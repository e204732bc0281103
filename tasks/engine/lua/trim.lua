--[[
trim: forget final jobs past their queue's count or age; a slow sweep beside the one in each finish.

Called by  storage.trim
ARGV 1     now_ms   Unix time in milliseconds; 0 = Redis's clock
ARGV 2     limit    most jobs a queue and state, 1 to 200
ARGV 3..   queues   their names
Returns    how many were forgotten
Touches    completed, failed and cancelled jobs
Cost       O(queues * limit * log m)
]]
--@include lib/record
may_exceed_memory()
clock(ARGV[1])
local gone = 0
for n = 3, #ARGV do
  for _, state in ipairs({'completed', 'failed', 'cancelled'}) do
    gone = gone + trim(ARGV[n], state, tonumber(ARGV[2]))
  end
end
return gone
