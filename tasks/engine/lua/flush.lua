--[[
flush: forget one chunk of jobs in a state; what Huey's flush_queue and flush_schedule do.

Called by  storage.flush_state
ARGV 1     now_ms   Unix time in milliseconds; 0 = Redis's clock
ARGV 2     state    waiting, scheduled, retrying, active, completed, failed or cancelled
ARGV 3     limit    most jobs at once, 1 to 500
ARGV 4     upto     time of change, us: jobs that came later stay, such as a batch's callback
ARGV 5..   queues   their names
Returns    how many were forgotten; call again until 0
Touches    every trace of those jobs, but for marks and the outbox marker, which expire; a batch of which
           no other member is left goes too, and one whose others have ended ends
Cost       O(limit * log m)
]]
--@include lib/insert
may_exceed_memory()
clock(ARGV[1])
local state, gone = ARGV[2], 0
-- A live job leaves as one that is cancelled does, and nothing is kept of it.
local function forget_live(id, job)
  leave(id, job)
  each_index(job, function(key) drop(key, id) end)
  if job.u and redis.call('GET', K.unique..job.u) == id then redis.call('DEL', K.unique..job.u) end
  if job.o then redis.call('HDEL', K.held..job.o, id) end
  if job.ch then redis.call('DEL', K.chord..job.ch) end
  if job.pt then end_tick(id, job, 'cancelled') end
  if job.op then tell_operation(id, job, 'cancelled') end
  redis.call('DEL', K.job..id, K.envelope..id, K.progress..id, K.attempts..id, K.logs..id, K.result..id,
    K.touched..id, K.value..'r:'..id)
end
local function forget_any(id, key)
  local job, old = live(id), final(id)
  if old then
    if old.bt then in_batch(old, old.s, -1) end
    forget(id, old)
  end
  if job then forget_live(id, job) end
  drop(key, id)
  local batch = job and job.bt or old and old.bt
  if batch then leave_batch(batch) end
end
for n = 5, #ARGV do
  local key = state_key(ARGV[n], state)
  for _, id in ipairs(read_set('ZRANGEBYSCORE', key, '-inf', ARGV[4], 'LIMIT', 0, tonumber(ARGV[3]))) do
    forget_any(id, key)
    gone = gone + 1
  end
end
return gone
