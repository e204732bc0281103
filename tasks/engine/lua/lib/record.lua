--[[
record: attempts, how jobs end, and retention; called where a state changes.
]]
--@include lib/move
--@include lib/ticks
local ATTEMPTS_KEPT = 20
local function waited(job, begun_ms) return math.max(0, begun_ms - tonumber(job.ra or begun_ms)) end
local function count_wait(job, begun_ms) count(job, 'w'..bucket(waited(job, begun_ms))) end
-- An attempt: outcome, number, run, begun, ended, wait, worker, then bytes that Python wrote.
local function record_attempt(id, job, outcome, blob)
  local wait = job.b and num(waited(job, tonumber(job.b))) or ''
  redis.call('RPUSH', K.attempts..id, table.concat({outcome, num(tonumber(job.n or '0') + 1),
    job.rn or '1', job.b or '', job.f or CLOCK, wait, job.o or ''}, '\t')..'\n'..(blob or ''))
  redis.call('HSET', K.job..id, 'ar', '1')
  redis.call('LTRIM', K.attempts..id, -ATTEMPTS_KEPT, -1)
end
-- Forget up to `limit` jobs of a state that are past the queue's count or age.
local function trim(queue, state, limit)
  local names = state == 'failed' and {'fkeep', 'fage'} or {'keep', 'age'}
  local kept = redis.call('HMGET', K.queue..queue, names[1], names[2])
  if not kept[1] and not kept[2] then return 0 end
  local key = state_key(queue, state)
  local spare = kept[1] and read_set('ZCARD', key) - tonumber(kept[1]) or 0
  local before_us = kept[2] and (CLOCK_MS - tonumber(kept[2])) * 1000 or 0
  -- Mostly the oldest may stay: to tell many scores takes long.
  local first = read_set('ZRANGE', key, 0, 0, 'WITHSCORES')
  if spare <= 0 and (not first[2] or tonumber(first[2]) >= before_us) then return 0 end
  local oldest = read_set('ZRANGE', key, 0, limit - 1, 'WITHSCORES')
  for n = 1, #oldest, 2 do
    local id = oldest[n]
    if n > 2 * spare and tonumber(oldest[n + 1]) >= before_us then return (n - 1) / 2 end
    local job = final(id)
    if job then forget(id, job) else drop(key, id) end
  end
  return #oldest / 2
end
-- Jobs that ended make room for themselves: for each, two that are past their time go.
local ENDED = {}
local function trim_ended()
  for queue, states in pairs(ENDED) do
    for state, n in pairs(states) do trim(queue, state, 2 * n) end
  end
end
local function ended(queue, state, many)
  if not next(ENDED) then AT_END[#AT_END + 1] = trim_ended end
  ENDED[queue] = ENDED[queue] or {}
  tally(ENDED[queue], state, many or 1)
end
-- Tell the operation that made this job run how it ended.
local function tell_operation(id, job, state)
  local key = K.op..job.op
  if redis.call('EXISTS', key) == 0 then return end
  redis.call('HINCRBY', key, 'end:'..state, 1)
  if state ~= 'failed' then return end
  redis.call('RPUSH', K.op_failed..job.op, id..'\t'..CLOCK)
  redis.call('LTRIM', K.op_failed..job.op, -20000, -1)
  redis.call('EXPIRE', K.op_failed..job.op, 2592000)
end
local LETTER = {completed = 'c', failed = 'f', cancelled = 'x'}
-- job.ran: the bucket of the attempt that ends with this call.
local function finish(id, job, state, result, has_result)
  if job.ra and state ~= 'cancelled' then
    count_queue(job.q, 'p'..bucket(CLOCK_MS - tonumber(job.ra)))
  end
  count(job, LETTER[state]..(job.ran or ''))
  if job.pt then end_tick(id, job, state) end
  to_final(id, job, state, result, has_result)
  if job.op then tell_operation(id, job, state) end
  if job.bt then end_batch(job.bt) end
  ended(job.q, state)
end
-- What a worker no longer runs: it waits again, unless somebody asked it to stop.
local function give_back(id, job)
  if not job.cr then return to_waiting(id, job) end
  job.why = job.cw
  finish(id, job, 'cancelled', nil, false)
end
