--[[
act: what an operator may do to one job; each function answers {done 1 or 0, state now, note}.
An act that finds its work already done says so and changes nothing, so it is safe to repeat.
]]
--@include lib/change
--@include lib/insert
local function back(id, job, options)
  job.sc = nil
  redis.call('HDEL', K.job..id, 'sc')
  if options.delay and options.delay > 0 then
    to_later(id, job, 'scheduled', CLOCK_MS + options.delay)
  else
    to_waiting(id, job)
  end
end
-- A chord's callback gets its members' results at the fetch; they go when it has completed.
local function chord_gone(old)
  if not old.ch or redis.call('EXISTS', K.chord..old.ch) == 1 then return nil end
  return 'the results it was called with are gone'
end
function ACTS.retry(id, options)
  local job = live(id)
  if job and job.s ~= 'retrying' then return {0, job.s, 'the job is '..job.s} end
  local old = job or final(id)
  if not old then return {0, '', 'there is no such job'} end
  local refused = options.change and change_arguments(id, old, options.change)
    or not job and (holder_of(id, old.u) or chord_gone(old))
  if refused then return {0, old.s, refused} end
  if job then
    back(id, job, options)
    return {1, job.s, ''}
  end
  job = revive(id, final(id))
  back(id, job, options)
  return {1, job.s, ''}
end
function ACTS.run_now(id)
  local job = live(id)
  if not job or (job.s ~= 'scheduled' and job.s ~= 'retrying') then return untouched(id) end
  to_waiting(id, job)
  return {1, 'waiting', ''}
end
function ACTS.cancel(id, options)
  local job = live(id)
  if not job then return untouched(id) end
  if job.s == 'active' then
    redis.call('HSETNX', K.job..id, 'cr', CLOCK)
    redis.call('HSETNX', K.job..id, 'cw', options.why or '')
    return {1, 'active', 'asked to stop'}
  end
  job.why = options.why
  finish(id, job, 'cancelled', nil, false)
  return {1, 'cancelled', ''}
end
function ACTS.delete(id)
  local old = final(id)
  if not old then return untouched(id) end
  forget(id, old)
  return {1, old.s, ''}
end
-- What empties a queue: a waiting job goes with every trace of it.
function ACTS.discard(id, options)
  local job = live(id)
  if not job or job.s ~= 'waiting' then return untouched(id) end
  ACTS.cancel(id, options)
  local old = final(id)
  if old then forget(id, old) end
  return {1, '', ''}
end
local function act(verb, id, options) return ACTS[verb](id, options) end
