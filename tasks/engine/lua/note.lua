--[[
note: what a running job says: progress, a log line, a mark. Refused when the lease is gone.

Called by  current.CurrentJob
ARGV 1     now_ms   Unix time in milliseconds; 0 = Redis's clock
ARGV 2..   id, token, what (progress, log or mark), name or percent, text
Returns    1, or 2 when an operator asked to cancel; error LEASELOST
Touches    g:, l: or k: of that job
Cost       O(1)
]]
--@include lib/clock
may_exceed_memory()
clock(ARGV[1])
local id, token, what, name, text = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local now = redis.call('HMGET', K.job..id, 'T', 'cr')
if now[1] ~= token then
  return redis.error_reply('LEASELOST this worker no longer has job '..id..': it was given to another')
end
if what == 'progress' then
  redis.call('SET', K.progress..id, name..'\t'..text)
elseif what == 'log' then
  redis.call('RPUSH', K.logs..id, CLOCK..'\t'..text)
  redis.call('LTRIM', K.logs..id, -200, -1)
elseif what == 'mark' then
  redis.call('HSET', K.marks..id, name, text)
  redis.call('PEXPIRE', K.marks..id, 604800000)
end
return now[2] and 2 or 1
