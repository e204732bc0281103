--[[
recover: a dead process's jobs -> waiting, or failed at the third death. Two passes: a process seen
expired becomes suspect, and is dead when it is still expired after a grace period. And a batch whose
maker was not heard of for a quarter of an hour is closed; and where a job could start and nobody is
called, somebody is.

Called by  leases.sweep
ARGV 1     now_ms   Unix time in milliseconds; 0 = Redis's clock
ARGV 2     JSON     {ttl_ms, grace_ms, quiet_ms (a longer silence of all sweeps starts with a pause),
                    most_deaths, limit, queues (that the caller serves), died {process a parent saw die:
                    how}, text of the last failure, err as lib/commit takes it}
Returns    {{job id, outcome: waiting, failed or cancelled}, ...}
Touches    jobs held by processes whose lease ended; what was recovered is kept a day with each; at most
           20 batches
Cost       O(limit * log m + queues)
]]
--@include lib/commit
may_exceed_memory()
clock(ARGV[1])
local ask = cjson.decode(ARGV[2])
local last = tonumber(redis.call('HGET', K.meta, 'swept') or '0')
redis.call('HSET', K.meta, 'swept', CLOCK)
-- After a silence (outage, pause, clock step) nobody could beat: give everybody a grace period.
if CLOCK_MS - last > ask.quiet_ms then redis.call('HSET', K.meta, 'hold', num(CLOCK_MS + ask.grace_ms)) end
for proc, how in pairs(ask.died) do
  if redis.call('EXISTS', K.proc..proc) == 1 then redis.call('HSET', K.proc..proc, 'gone', how) end
  redis.call('ZADD', K.suspects, 0, proc)
  redis.call('ZADD', K.procs, 0, proc)
end
local hold = tonumber(redis.call('HGET', K.meta, 'hold') or '0')
local holding = CLOCK_MS < hold and hold <= CLOCK_MS + ask.grace_ms
local answers = {}
local function bury(proc)
  for _, id in ipairs(redis.call('HKEYS', K.held..proc)) do
    if #answers >= ask.limit then return false end
    local job = live(id)
    redis.call('HDEL', K.held..proc, id)
    if job and job.o == proc and job.s == 'active' then
      job.k = num(tonumber(job.k or '0') + 1)
      redis.call('HSET', K.job..id, 'k', job.k)
      record_attempt(id, job, 'lost', '')
      count(job, 'd')
      if tonumber(job.k) >= ask.most_deaths then
        record_attempt(id, job, 'failed', ask.text)
        job.why, job.eg = 'its worker died', ask.err[1]
        group_failed(id, job, ask.err)
        finish(id, job, 'failed', nil, false)
      else
        give_back(id, job)
      end
      answers[#answers + 1] = {id, job.s}
      redis.call('RPUSH', K.buried..proc, id..'\t'..job.s)
      redis.call('EXPIRE', K.buried..proc, 86400)
    end
  end
  return true
end
-- After a step back of the server's clock no lease is longer than it may be.
for _, proc in ipairs(redis.call('ZRANGEBYSCORE', K.procs, '('..num(CLOCK_MS + ask.ttl_ms), '+inf', 'LIMIT', 0, 200)) do
  redis.call('ZADD', K.procs, num(CLOCK_MS + ask.ttl_ms), proc)
end
for _, proc in ipairs(redis.call('ZRANGEBYSCORE', K.procs, '-inf', CLOCK, 'LIMIT', 0, 200)) do
  local seen = redis.call('ZSCORE', K.suspects, proc)
  if holding and not ask.died[proc] then
    seen = nil
  elseif not seen or tonumber(seen) > CLOCK_MS then
    redis.call('ZADD', K.suspects, CLOCK, proc)
  elseif CLOCK_MS - tonumber(seen) >= ask.grace_ms and bury(proc) then
    redis.call('ZREM', K.procs, proc)
    redis.call('ZREM', K.suspects, proc)
    redis.call('DEL', K.held..proc)
    if redis.call('HEXISTS', K.proc..proc, 'seen') == 1 then -- else it never took a lease
      redis.call('HSET', K.proc..proc, 'state', 'dead', 'died', CLOCK)
      redis.call('ZADD', K.dead, CLOCK, proc)
    end
    redis.call('EXPIRE', K.proc..proc, 86400)
    redis.call('ZREMRANGEBYSCORE', K.dead, '-inf', num(CLOCK_MS - 86400000))
  end
end
-- A worker may die with the call that it took.
local UNCALLED_MS = 1000
local function call_again(queue)
  if redis.call('EXISTS', K.wake..queue) == 1 then return end
  local lane = look(queue, 1)
  if not lane or (lane.limited and not lane_allows(lane)) then return end
  local ready = redis.call('HGET', K.job..lane.heads[1], 'ra')
  if ready and CLOCK_MS - ready >= UNCALLED_MS then wake(queue) end
end
for _, queue in ipairs(ask.queues) do call_again(queue) end
close_unheard_batches()
return answers
