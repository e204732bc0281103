--[[
insert: store one new job as waiting or scheduled. The first write is a SET: full memory refuses it.
spec: id, q queue, t task, p priority, m attempts allowed, due (ms), delay (ms), u unique hash,
  ix argument indexes, rq nonce of the request, by, tg tags, ch chord, pt tick, mk (an outbox row), hold (scheduled even
  when its time has come: Huey's own add_to_schedule)
Answers {status, id}: new, same (a repeat of this call, also after the job ended), live (known and live), taken back (was
lent to Huey's scheduler), held (unique key held by the id answered), pushed (an outbox row pushed
before), again (a final id runs again).
]]
--@include lib/record
local PUSHED_KEPT_MS = 172800000
-- Ids of which nothing is known: asked for all of a call at once, and true until one is stored.
local FRESH = {}
local function look_for(specs)
  local names = {}
  for _, spec in ipairs(specs) do
    local n, id = #names, spec.id
    names[n + 1], names[n + 2], names[n + 3] = K.job..id, K.final..id, K.result..id
    if spec.mk then names[n + 4] = K.pushed..id end
  end
  if #names == 0 or redis.call('EXISTS', unpack(names)) > 0 then return end
  for _, spec in ipairs(specs) do FRESH[spec.id] = true end
end
local function holder(spec)
  local id = redis.call('GET', K.unique..spec.u)
  if id and redis.call('EXISTS', K.job..id) == 1 then return {'held', id} end
end
local function known(spec, before)
  if spec.mk and redis.call('EXISTS', K.pushed..spec.id) == 1 then return {'pushed', spec.id} end
  local job = live(spec.id)
  if job then
    if job.rq == spec.rq then return {'same', spec.id} end
    if read_set('ZREM', K.handoff, spec.id) == 1 then
      to_waiting(spec.id, job)
      return {'taken back', spec.id}
    end
    return {'live', spec.id}
  end
  if before and spec.rq and before.rq == spec.rq then return {'same', spec.id} end
  return spec.u and holder(spec)
end
-- Each figure costs time whenever the job is read: what is as usual (lib/move) is left out.
local OPTIONAL = {'u', 'ix', 'by', 'tg', 'bt', 'ch', 'pt'}
local function first_figures(spec, run)
  local job = {t = spec.t, q = spec.q, c = CLOCK, rq = spec.rq or '', s = nil, ra = nil, sc = nil, m = nil}
  if spec.p and spec.p ~= 0 then job.p = num(spec.p) end
  if spec.m and spec.m ~= 1 then job.m = num(spec.m) end
  if run ~= 1 then job.rn = num(run) end
  for n = 1, #OPTIONAL do
    local name = OPTIONAL[n]
    local value = spec[name]
    if value and value ~= '' then job[name] = type(value) == 'number' and num(value) or value end
  end
  return job
end
local QUEUES_SEEN = {}
local function store(id, job)
  local fields, n = {}, 0
  for name, value in pairs(job) do
    fields[n + 1], fields[n + 2] = name, value
    n = n + 2
  end
  redis.call('HSET', K.job..id, unpack(fields))
  if not QUEUES_SEEN[job.q] then redis.call('SADD', K.queues, job.q) end
  QUEUES_SEEN[job.q] = true
end
-- What is left of a job that ended and runs again under its id.
local function clear(id, before)
  unlist(id, before, true)
  stand(before, before.s, -1)
  if before.bt then in_batch(before, before.s, -1) end
  hide_result(before)
  redis.call('DEL', K.final..id)
end
local function add_new(spec, run)
  local id, due = spec.id, spec.due or 0
  local job = first_figures(spec, run)
  if spec.u then redis.call('SET', K.unique..spec.u, id) end
  if spec.mk then redis.call('SET', K.pushed..id, '1', 'PX', PUSHED_KEPT_MS) end
  if spec.delay and spec.delay > 0 then due = CLOCK_MS + spec.delay end
  if due > CLOCK_MS or spec.hold then put_off(id, job, 'scheduled', due) else line_up(id, job) end
  store(id, job)
end
local function insert(spec, envelope)
  local id, before, answer = spec.id, nil, nil
  local fresh = FRESH[id]
  if fresh then
    FRESH[id] = nil
    answer = spec.u and holder(spec)
  else
    before = final(id)
    answer = known(spec, before)
  end
  if answer then return answer end
  redis.call('SET', K.envelope..id, envelope)
  if before then clear(id, before) end
  if not fresh then redis.call('DEL', K.result..id) end
  add_new(spec, before and tonumber(before.rn or '1') + 1 or 1)
  return {before and 'again' or 'new', id}
end
add_callback = insert
