--[[
goodbye: a process stops by itself; what it still holds goes back, no attempt burnt.

Called by  leases.goodbye
ARGV 1     now_ms   Unix time in milliseconds; 0 = Redis's clock
ARGV 2     proc     the process
Returns    how many jobs went back
Touches    jobs held by that process
Cost       O(jobs held * log m)
]]
--@include lib/take
--@include lib/insert
may_exceed_memory()
clock(ARGV[1])
local proc, back = ARGV[2], 0
for _, id in ipairs(redis.call('HKEYS', K.held..proc)) do
  local job = live(id)
  if job and job.o == proc and job.s == 'active' then
    give_back(id, job)
    back = back + 1
  end
end
redis.call('ZREM', K.procs, proc)
redis.call('ZREM', K.suspects, proc)
redis.call('DEL', K.held..proc, K.proc..proc)
return back
