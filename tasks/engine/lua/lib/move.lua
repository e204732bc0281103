--[[
move: the only functions that change a job's state and its indexes.
A live job is j:<id> (figures) and e:<id> (envelope). A final one is d:<id>, one string:
  unread-result flag, tab, the figures joined by tabs, newline, the envelope, the result.
]]
--@include lib/batch
-- t task, q queue, p priority, c created ms, d due ms, b begun ms, f finished ms, n attempts used,
-- m attempts allowed, k deaths of its workers, rn run, o owner, u unique hash, ix argument indexes,
-- w wait ms (of an ended job), by enqueued by, why reason, tg tags, rq nonce of the request that
-- added it, cu when an operator last changed it in place, us, eg error group, bt batch, pt the tick
-- it was fired for, ms, ch the chord it is the callback of; only while it lives:
-- s state, T token, ra ready since ms, sc score among the waiting, pk parked for (lib/pause)
local FIGURES = FIGURE_NAMES -- keys.py has them, and what FIGURES_OF(job) joins
-- States in which a job may rest for long: only these are found by task, error group, tag and batch, so
-- that a job that just runs (waiting, active, completed) costs no index entry.
local RESTS = {scheduled = true, retrying = true, failed = true, cancelled = true}
-- A live job, and how many figures it has.
local function live(id)
  local flat = redis.call('HGETALL', K.job..id)
  if #flat == 0 then return nil end
  -- Room for what nearly every job has, at once: a table that grows costs as much as two commands.
  local job = {t = nil, q = nil, c = nil, rq = nil, s = nil, ra = nil, sc = nil, T = nil, o = nil, h = nil,
    m = nil}
  for i = 1, #flat, 2 do job[flat[i]] = flat[i + 1] end
  return job, #flat / 2
end
local function parse_final(text)
  local stop = string.find(text, '\n', 1, true)
  local parts = {}
  for part in string.gmatch(string.sub(text, 3, stop - 1)..'\t', '(.-)\t') do
    parts[#parts + 1] = part
  end
  local job = {s = parts[1], le = tonumber(parts[2]), body = stop + 1, text = text}
  for n, name in ipairs(FIGURES) do
    if parts[n + 2] and parts[n + 2] ~= '' then job[name] = parts[n + 2] end
  end
  return job
end
-- The envelope and the result of a final job.
local function kept_envelope(job) return string.sub(job.text, job.body, job.body + job.le - 1) end
local function kept_result(job) return string.sub(job.text, job.body + job.le) end
local function final(id)
  local text = redis.call('GET', K.final..id)
  return text and parse_final(text) or nil
end
-- The key of a queue's jobs in one state; names are joined once a call.
local STATE_KEYS = {}
local function state_key(queue, state)
  local keys = STATE_KEYS[queue]
  if not keys then
    keys = {}
    STATE_KEYS[queue] = keys
  end
  local key = keys[state]
  if not key then
    key = K.state..queue..':'..state
    keys[state] = key
  end
  return key
end
local function unread(job) return string.sub(job.text, 1, 1) == '1' end
-- What a job is found by in every state: its declared arguments, and who queued it.
local function each_index(job, fn)
  if job.by then fn(K.children..job.by) end
  if job.ix then for key in string.gmatch(job.ix, '%S+') do fn(K.index..key) end end
end
-- What a resting job is found by: f:<state>:<field>:<value>, each a zset by time of change.
local function each_found(job, fn)
  local stem = K.found..job.s..':'
  if job.t then fn(stem..'task:'..job.t) end
  if job.eg then fn(stem..'group:'..job.eg) end
  if job.bt then fn(stem..'batch:'..job.bt) end
  if job.tg then for tag in string.gmatch(job.tg, '%S+') do fn(stem..'tag:'..tag) end end
end
-- Give a job other tags; its time of change stays.
local function retag(id, job, tags)
  local us = RESTS[job.s] and read_set('ZSCORE', state_key(job.q, job.s), id)
  if us then each_found(job, function(key) drop(key, id) end) end
  job.tg = tags
  if us then each_found(job, function(key) put(key, us, id) end) end
end
-- Take a job out of its state's sets; `gone`: it leaves the indexes of every state too.
local function unlist(id, job, gone)
  drop(state_key(job.q, job.s), id)
  if RESTS[job.s] then each_found(job, function(key) drop(key, id) end) end
  if gone then each_index(job, function(key) drop(key, id) end) end
end
-- A parked job goes back among the waiting, with its score: the fetch judges it anew (lib/pause).
local function unpark(id, job)
  drop(K.parked..job.pk, id)
  redis.call('HDEL', K.job..id, 'pk')
  put(K.waiting..job.q, job.sc, id)
  job.pk = nil
end
-- Take a job out of every set that its queue and state put it into.
local function leave(id, job)
  if job.pk then unpark(id, job) end
  if job.s == 'waiting' then drop(K.waiting..job.q, id) end
  if job.s == 'scheduled' or job.s == 'retrying' then
    drop(K.due, id)
    drop(K.handoff, id)
  end
  if job.s then
    unlist(id, job, false)
    stand(job, job.s, -1)
    if job.bt then in_batch(job, job.s, -1) end
  end
end
-- Put a job into `state`: the one place where a job's state set changes. Answers the time of change.
local function move(id, job, to)
  leave(id, job)
  stand(job, to, 1)
  if job.bt then in_batch(job, to, 1) end
  local us = change_us()
  put(state_key(job.q, to), us, id)
  if job.ix or job.by then each_index(job, function(key) put(key, us, id) end) end
  job.s = to
  if RESTS[to] then each_found(job, function(key) put(key, us, id) end) end
  return us
end
-- Put a job among the waiting (`came`: from another queue); its figures are the caller's to write: s, ra and sc.
local function line_up(id, job)
  count(job, (job.s or job.came) and 'a' or 'n')
  move(id, job, 'waiting')
  job.sc = job.sc or num((100 - (job.p or 0)) * 1099511627776 + next_seq())
  job.ra = CLOCK
  put(K.waiting..job.q, job.sc, id)
  wake(job.q)
end
local function to_waiting(id, job)
  line_up(id, job)
  redis.call('HSET', K.job..id, 's', 'waiting', 'ra', CLOCK, 'sc', job.sc)
  if job.T or job.d or job.eg then redis.call('HDEL', K.job..id, 'T', 'd', 'eg') end
  job.eg = nil
end
-- Put a job among those for later; its figures are the caller's to write: s, d, and no sc.
local function put_off(id, job, state, due_ms)
  if not (job.s or job.came) then count(job, 'l') end
  move(id, job, state)
  job.sc, job.d = nil, num(due_ms)
  put(K.due, job.d, id)
  wake(job.q)
end
local function to_later(id, job, state, due_ms)
  put_off(id, job, state, due_ms)
  redis.call('HDEL', K.job..id, 'sc', 'T')
  redis.call('HSET', K.job..id, 's', state, 'd', job.d)
end
-- Write a final job as its one string; flag 1: its result was not read yet.
local function keep_final(id, job, flag, envelope, result)
  redis.call('SET', K.final..id, flag..'\t'..job.s..'\t'..num(#envelope)..'\t'..FIGURES_OF(job)..'\n'
    ..envelope..(result or ''))
end
-- Envelopes of jobs that are about to end, read together; an id without one has false.
local ENVELOPES = {}
local function read_envelopes(ids)
  local names = {}
  for n, id in ipairs(ids) do names[n] = K.envelope..id end
  for n, envelope in ipairs(redis.call('MGET', unpack(names))) do ENVELOPES[ids[n]] = envelope end
end
local function envelope_now(id)
  return ENVELOPES[id] or redis.call('GET', K.envelope..id) or ''
end
-- End a job: its figures, envelope and result become one string, its live keys go.
local function to_final(id, job, state, result, has_result)
  move(id, job, state)
  job.f = job.f or CLOCK
  keep_final(id, job, has_result and '1' or '0', envelope_now(id), result)
  redis.call('DEL', K.job..id, K.envelope..id, K.progress..id, K.result..id,
    job.rv or K.result..id)
  if job.ch and state == 'completed' then redis.call('DEL', K.chord..job.ch) end
  if job.u and redis.call('GET', K.unique..job.u) == id then redis.call('DEL', K.unique..job.u) end
  if has_result then RESULTS = RESULTS + 1 end
end
local function hide_result(job)
  if unread(job) then RESULTS = RESULTS - 1 end
end
-- Take a final job with every trace of it, but for marks and the outbox marker, which expire.
local function forget(id, job)
  stand(job, job.s, -1)
  unlist(id, job, true)
  hide_result(job)
  if job.ch then redis.call('DEL', K.chord..job.ch) end
  redis.call('DEL', K.final..id, K.attempts..id, K.logs..id, K.result..id, K.touched..id)
end
-- Make a final job live again: same id, attempts count from 1, the run goes up.
local function revive(id, job)
  local fields = {'t', job.t, 'q', job.q, 'p', job.p or '0', 'c', job.c, 'n', '0', 'm', job.m or '1',
    'rn', num(tonumber(job.rn or '1') + 1), 'k', '0', 's', job.s}
  for _, name in ipairs({'u', 'ix', 'by', 'tg', 'cu', 'eg', 'bt', 'pt', 'ch', 'rq'}) do
    if job[name] then
      fields[#fields + 1] = name
      fields[#fields + 1] = job[name]
    end
  end
  hide_result(job)
  redis.call('SET', K.envelope..id, kept_envelope(job))
  redis.call('HSET', K.job..id, unpack(fields))
  redis.call('DEL', K.final..id)
  if job.u then redis.call('SET', K.unique..job.u, id) end
  return live(id)
end
