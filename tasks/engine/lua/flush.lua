--[[
flush: forget one chunk of jobs in a state; what Huey's flush_queue and flush_schedule do.

Called by  storage.flush_state
ARGV 1     state    waiting, scheduled, retrying, active, completed, failed or cancelled
ARGV 2     limit    most jobs at once, 1 to 500
ARGV 3..   queues   their names
Returns    how many were forgotten; call again until 0
Touches    every trace of those jobs
Cost       O(limit * log m)
]]
--@include lib/move
local state, gone = ARGV[1], 0
for n = 3, #ARGV do
  local key = K.state..ARGV[n]..':'..state
  for _, id in ipairs(redis.call('ZRANGE', key, 0, tonumber(ARGV[2]) - 1)) do
    local job = live(id)
    if job then stand(job, state, -1) end
    redis.call('ZREM', key, id)
    redis.call('ZREM', K.waiting..ARGV[n], id)
    redis.call('ZREM', K.due, id)
    redis.call('ZREM', K.handoff, id)
    if job and job.pk then redis.call('ZREM', K.parked..job.pk, id) end
    if job then each_index(job, function(index) redis.call('ZREM', index, id) end) end
    if job and job.u then redis.call('DEL', K.unique..job.u) end
    local old = final(id)
    if old then forget(id, old) end
    redis.call('DEL', K.job..id, K.envelope..id, K.attempts..id, K.logs..id, K.progress..id)
    gone = gone + 1
  end
end
return gone
