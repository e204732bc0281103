--[[
take: promote due jobs, then pick the next jobs a process may run: the highest priority first, and
among equals the queue that was served longest ago. Pauses, breaker, concurrency and rate decide here.
A job taken is active. The first `want` start at once and carry the time; those beyond are only held
(no `b`), see `may_hold`.
]]
--@include lib/breaker
--@include lib/pause
local PROMOTED_AT_ONCE, LOOKED_PAST, READ_AT_ONCE = 20, 10, 32
local NEXT_DUE -- ms or ''; known unless this call has changed it
local function first_due()
  local first = read_set('ZRANGE', K.due, 0, 0, 'WITHSCORES')
  return first[2] and num(tonumber(first[2])) or ''
end
local function promote(limit)
  NEXT_DUE = first_due()
  local is_due = NEXT_DUE ~= '' and tonumber(NEXT_DUE) <= CLOCK_MS
  local due = is_due and read_set('ZRANGEBYSCORE', K.due, '-inf', CLOCK, 'LIMIT', 0, limit) or {}
  for _, id in ipairs(due) do
    local job = live(id)
    if job then to_waiting(id, job) else drop(K.due, id) end
  end
  for _, id in ipairs(read_set('ZRANGEBYSCORE', K.handoff, '-inf', CLOCK, 'LIMIT', 0, limit)) do
    local job = live(id)
    if job then to_waiting(id, job) else drop(K.handoff, id) end
  end
  return #due
end
local function paused(key, options)
  if not options[1] then return false end
  if not options[2] or CLOCK_MS < tonumber(options[2]) then return true end
  redis.call('HDEL', key, 'pa', 'pu', 'pb', 'pr')
  return false
end
-- Token bucket: rl tokens a period of rp ms; rt tokens left as of rs.
local function rate_allows(key, options)
  local most, period = tonumber(options[5]), tonumber(options[6])
  if not most then return true end
  local left = tonumber(options[7] or most) + (CLOCK_MS - tonumber(options[8] or CLOCK_MS)) * most / period
  left = math.min(most, left)
  redis.call('HSET', key, 'rt', string.format('%.6f', left), 'rs', CLOCK)
  return left >= 1
end
-- What one queue offers in this call, its options read once; nil where nothing may be taken.
local function look(queue, most)
  local read = math.min(READ_AT_ONCE, most + 1)
  local heads = read_set('ZRANGE', K.waiting..queue, 0, read - 1)
  if #heads == 0 then return nil end
  local key = K.queue..queue
  local options = redis.call('HMGET', key, 'pa', 'pu', 'lc', 'cc', 'rl', 'rp', 'rt', 'rs', 'sv', 'bs',
    'bg')
  if paused(key, options) then return nil end
  local allowed = options[10] and breaker_allows(key) or 'yes'
  if allowed == 'no' then return nil end
  return {queue = queue, key = key, heads = heads, at = 1, passed = 0,
    served = tonumber(options[9] or '0'), probe = allowed == 'probe', generation = options[11],
    most = tonumber(options[3] or options[4]), rated = options[5],
    limited = options[3] or options[4] or options[5] or options[10]}
end
-- Those taken are out of the set by now, those passed by are still in it.
local function read_on(lane)
  local last = lane.passed + READ_AT_ONCE - 1
  lane.heads = read_set('ZRANGE', K.waiting..lane.queue, lane.passed, last)
  lane.at, lane.scores = 1, nil
  lane.done = #lane.heads == 0
end
-- The priority of a lane's head, lowest first; read only where lanes compete, since a score costs as much
-- to tell as a command.
local function band_of(lane)
  lane.scores = lane.scores or read_set('ZMSCORE', K.waiting..lane.queue, unpack(lane.heads))
  return math.floor(lane.scores[lane.at] / 1099511627776)
end
-- The lane with the best head. A limited one is asked again before each job.
local function best(lanes)
  local found
  for _, lane in ipairs(lanes) do
    if not lane.done and not lane.heads[lane.at] then read_on(lane) end
    if not lane.done then
      lane.band = #lanes > 1 and band_of(lane)
      if not found or lane.band < found.band
          or (lane.band == found.band and lane.served < found.served) then
        found = lane
      end
    end
  end
  return found
end
local function lane_allows(lane)
  if lane.most and read_set('ZCARD', state_key(lane.queue, 'active')) >= lane.most then return false end
  if lane.rated then
    return rate_allows(lane.key, redis.call('HMGET', lane.key, '-', '-', '-', '-', 'rl', 'rp', 'rt', 'rs'))
  end
  return true
end
-- Asked where it matters: hardly ever.
local function holds_suspect(proc, plan)
  if plan.suspect == nil then
    local id = redis.call('HGET', K.proc..proc, 'suspect')
    plan.suspect = id and redis.call('HEXISTS', K.held..proc, id) == 1 or false
  end
  return plan.suspect
end
-- The lane's head where this process may hold it, else nil and the lane is one further. A process holds
-- one suspect at a time, since a job that was active in a dying process may be what kills them.
local function head_of(lane, proc, plan)
  local id = lane.heads[lane.at]
  local job, figures = live(id)
  local reason = job and PAUSED and paused_by(job)
  local suspect = job and (job.k or '0') ~= '0' and holds_suspect(proc, plan)
  if job and not reason and not suspect then return id, job, figures end
  lane.at = lane.at + 1
  if not job then
    drop(K.waiting..lane.queue, id)
  elseif reason then
    lane.done = not park(id, job, reason)
  else
    lane.passed = lane.passed + 1
    lane.done = lane.passed > LOOKED_PAST
  end
end
-- A job beyond those that start at once is held only where it is known to be quick (pace: task ->
-- microseconds), fits what is left of the window, and nothing may come between: no limit, no breaker
-- that is not closed, no suspect.
local function may_hold(lane, job, proc, plan)
  local cost = plan.pace[job.t]
  return cost and cost <= plan.left and not lane.limited
    and (job.k or '0') == '0' and not holds_suspect(proc, plan)
end
local function to_active(id, job, lane, proc, starts)
  local us = move(id, job, 'active')
  -- The owner is part of it: after a failover that lost writes the same number may be given again.
  local token = us..'-'..string.sub(proc, -8)
  redis.call('HSET', K.job..id, 's', 'active', 'T', token, 'o', proc, starts and 'b' or 'h',
    CLOCK)
  if starts then
    count_wait(job, CLOCK_MS)
    if job.h then redis.call('HDEL', K.job..id, 'h') end
  elseif job.b then
    redis.call('HDEL', K.job..id, 'b')
  end
  if lane.rated then redis.call('HINCRBYFLOAT', lane.key, 'rt', -1) end
  if lane.probe then
    redis.call('HSET', lane.key, 'bs', 'probing', 'bj', id)
    lane.generation = redis.call('HINCRBY', lane.key, 'bg', 1)
    lane.done = true
  end
  if lane.generation then redis.call('HSET', K.job..id, 'bg', lane.generation) end
  lane.served, lane.took = tonumber(us), true
  return token
end
-- Whether nothing hangs on a job but what its line tells, so that its worker may write what becomes of it
-- (lib/plain): it has no figures but these.
local function is_plain(job, figures)
  local usual = job.t and job.q and job.c and job.rq and job.s and job.ra and job.sc
  return usual and figures == 7 + (job.m and 1 or 0) + (job.p and 1 or 0) + (job.ix and 1 or 0)
    + (job.by and 1 or 0) + (job.tg and 1 or 0)
end
-- A job as one line: each value of an answer costs time. What is not as usual comes apart from it.
local function handed(id, job, token, starts, plain)
  local line = id..'\t'..token..'\t'..(starts and '1' or '0')..'\t'..job.q..'\t'..(job.t or '')..'\t'
    ..(job.n or '0')..' '..(job.m or '1')..' '..(job.rn or '1')..' '..(job.k or '0')
  if not plain then return line end
  return line..'\t'..job.ra..'\t'..job.c..'\t'..job.rq..'\t'..(job.p or '')..'\t'..(job.ix or '')..'\t'
    ..(job.by or '')..'\t'..(job.tg or '')
end
-- Which of those taken are revoked: asked for all at once, since hardly ever one is.
local function mark_revoked(plan)
  local names = {}
  for n, id in ipairs(plan.ids) do names[n] = K.value..'r:'..id end
  for n, task in ipairs(plan.tasks) do
    if task ~= plan.tasks[n - 1] then names[#names + 1] = K.value..'rt:'..task end
  end
  if redis.call('EXISTS', unpack(names)) == 0 then return end
  for n, id in ipairs(plan.ids) do
    if redis.call('EXISTS', K.value..'r:'..id, K.value..'rt:'..plan.tasks[n]) > 0 then
      plan.revoked[#plan.revoked + 1] = n
    end
  end
end
-- Between the lines come the envelopes.
local function add_envelopes(plan)
  local names = {}
  for n, id in ipairs(plan.ids) do names[n] = K.envelope..id end
  for n, envelope in ipairs(redis.call('MGET', unpack(names))) do plan.rows[2 * n] = envelope or '' end
end
-- Take the lane's head, or pass by it; false: the call is over.
local function take_one(lane, proc, plan)
  local id, job, figures = head_of(lane, proc, plan)
  if not id then return true end
  local starts = #plan.ids < plan.want
  if not starts and not may_hold(lane, job, proc, plan) then return false end
  lane.at = lane.at + 1
  if (job.k or '0') ~= '0' then
    plan.suspect = true
    redis.call('HSET', K.proc..proc, 'suspect', id)
  end
  -- A slot is busy with a job that is not known to be quick: what is held is shared by the others.
  plan.left = plan.left - (plan.pace[job.t] or plan.each)
  local plain = is_plain(job, figures) and not lane.generation
  local token, n = to_active(id, job, lane, proc, starts), #plan.ids + 1
  plan.held[2 * n - 1], plan.held[2 * n] = id, token
  plan.ids[n], plan.tasks[n], plan.rows[2 * n - 1] = id, job.t or '', handed(id, job, token, starts, plain)
  if job.ch then plan.members[#plan.members + 1] = {n, redis.call('HGETALL', K.chord..job.ch)} end
  return true
end
local function hold(proc, held)
  if #held == 0 then return end
  redis.call('HSET', K.held..proc, unpack(held))
  -- One whose lease ended, or who never took one, is found by the sweep if it dies before it beats.
  redis.call('ZADD', K.procs, 'NX', CLOCK, proc)
end
-- plan: want (jobs that start at once), most (with those held), left (microseconds of work to take),
-- each (what a job that is not known to be quick counts for), pace {task: microseconds}
local function take(proc, queues, plan)
  local lanes = {}
  read_pauses()
  for _, queue in ipairs(queues) do lanes[#lanes + 1] = look(queue, plan.most) end
  plan.held, plan.ids, plan.tasks, plan.rows, plan.revoked, plan.members = {}, {}, {}, {}, {}, {}
  -- At the end of the call, also of one that fails half way: what it took is found again.
  AT_END[#AT_END + 1] = function() hold(proc, plan.held) end
  local lane = best(lanes)
  while lane and #plan.ids < plan.most do
    if lane.limited and not lane_allows(lane) then
      lane.done = true
    elseif not take_one(lane, proc, plan) then
      break
    end
    lane = best(lanes)
  end
  if #plan.ids > 0 then
    mark_revoked(plan)
    add_envelopes(plan)
  end
  for _, one in ipairs(lanes) do
    if one.took then redis.call('HSET', one.key, 'sv', num(one.served)) end
    -- Others may serve but one of these queues, and this call may have been the one that called them.
    local more = not one.done and one.heads[one.at]
    if more and (not one.limited or lane_allows(one)) then wake(one.queue) end
  end
  return plan
end
-- Which of these queues lend out no more: what is held of them goes back.
local function shut(queues)
  local names = {}
  for _, queue in ipairs(queues) do
    local options = redis.call('HMGET', K.queue..queue, 'pa', 'pu', 'bs')
    if options[3] or paused(K.queue..queue, options) then names[#names + 1] = queue end
  end
  return names
end
local function next_due()
  return not CHANGED[K.due] and NEXT_DUE or first_due()
end
local function fetch(ask)
  if not ask.hop then promote(PROMOTED_AT_ONCE) end
  return take(ask.proc, ask.queues, ask.plan)
end
local NOTHING = {}
local function answered(ask, statuses, plan)
  return {CLOCK, next_due(), statuses, plan.rows or NOTHING, ask.lent and shut(ask.lent) or NOTHING,
    plan.revoked or NOTHING, plan.members or NOTHING}
end
