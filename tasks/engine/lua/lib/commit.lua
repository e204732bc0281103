--[[
commit: everything one attempt left behind, in one go and only under its token: follow-up jobs,
chord member, breaker, then the job's own retry, release or final state.
done: id, T token, to (completed, failed, cancelled, retry, release), n attempts used, outcome,
  ms it ran, b begun ms (where it was held first), why, due (ms) or delay (ms) or probe (at the breaker's time), res, att, env (indexes of blobs, 0
  none), kids {{spec, env}}, puts {{key, blob}}, chord {cid, idx, size, res, spec, env}, told {fault, now, healthy},
  err {group, class, title, place, said} of a failed attempt, over {blob of the last attempt, err} where it
  deferred: its failure when it did so too often,
  rv (its own revocation goes), hold (stays scheduled although its time has come), again (sent before,
  and no answer was heard);
  or of one that completed and left nothing else behind, {id, T, n, ms, b, res}, false where one is not there
]]
--@include lib/take
--@include lib/insert
--@include lib/groups
--@include lib/plain
local CHORD_KEPT_MS = 7776000000 -- of one whose members do not all complete
local function chord_member(chord, blobs)
  redis.call('HSET', K.chord..chord.cid, chord.idx, blobs[chord.res])
  redis.call('PEXPIRE', K.chord..chord.cid, CHORD_KEPT_MS)
  if redis.call('HLEN', K.chord..chord.cid) == chord.size then
    -- As a repeat of one request it is added once, also when members run again by hand.
    chord.spec.ch, chord.spec.rq = chord.cid, 'chord:'..chord.cid
    local status = insert(chord.spec, blobs[chord.env])[1]
    return status == 'new' or status == 'again'
  end
end
local function follow_ups(done, blobs)
  if done.kids then for _, kid in ipairs(done.kids) do insert(kid[1], blobs[kid[2]]) end end
  if done.puts then
    for _, put in ipairs(done.puts) do redis.call('SET', K.result..put[1], blobs[put[2]], 'PX', 604800000) end
  end
  return done.chord and chord_member(done.chord, blobs)
end
local function later(id, job, done)
  local due = tonumber(done.due or 0)
  if done.delay then due = CLOCK_MS + tonumber(done.delay) end
  if done.probe then due = breaker_due(job.q) end
  count(job, 'r'..(job.ran or ''))
  if due > CLOCK_MS or done.hold then
    to_later(id, job, tonumber(job.n) > 0 and 'retrying' or 'scheduled', due)
  else
    job.sc = nil
    to_waiting(id, job)
  end
end
local function again(id, job, done)
  if job.cr or done.to == 'release' then return give_back(id, job) end
  later(id, job, done)
end
local function worth_a_record(job, done)
  return done.outcome ~= 'completed' or job.ar or (job.rn or '1') ~= '1'
    or (job.n or '0') ~= '0' or (job.k or '0') ~= '0'
end
-- When it began, where it was held before, and when it ended, by the worker's count of milliseconds.
local function timed(job, done)
  local begun = tonumber(job.b)
  if not begun then
    begun = math.min(CLOCK_MS, math.max(tonumber(job.h or '0'), done.b or CLOCK_MS))
    job.b = begun == CLOCK_MS and CLOCK or num(begun)
  end
  if job.h then count_wait(job, begun) end -- else it was counted when it was taken
  local took = math.min(CLOCK_MS - begun, done.ms or CLOCK_MS)
  job.w, job.f = num(waited(job, begun)), took == 0 and job.b or num(begun + took)
  job.ran = bucket(took)
  ran(done.id, job, done.to == 'retry' and 'r' or LETTER[done.to], took)
end
local function settle(job, done, blobs)
  timed(job, done)
  if done.told or job.bg then breaker_told(done.id, job, done.told) end
  if worth_a_record(job, done) then record_attempt(done.id, job, done.outcome, blobs[done.att]) end
  job.n = num(done.n)
  job.why = done.to == 'cancelled' and job.cw or done.why
  job.rv = done.rv and K.value..'r:'..done.id
  if done.err then
    job.eg = done.err[1]
    group_failed(done.id, job, done.err)
  end
end
-- The process holds these no more. It is done after their commits: should one of them fail the whole
-- call, the others stay held and are found again.
local function let_go(proc, dones, ids)
  local ended = {}
  for n, token in ipairs(redis.call('HMGET', K.held..proc, unpack(ids))) do
    if token == dones[n].T then ended[#ended + 1] = ids[n] end
  end
  if #ended > 0 then redis.call('HDEL', K.held..proc, unpack(ended)) end
end
-- A job that only ever defers would run for ever.
local DEFERS_MOST = 1000
local function deferred_too_often(id, job, done, blobs)
  if not done.over or job.cr or redis.call('HINCRBY', K.job..id, 'df', 1) <= DEFERS_MOST then return false end
  record_attempt(id, job, 'failed', blobs[done.over[1]])
  job.why, job.eg = done.over[2][3], done.over[2][1]
  group_failed(id, job, done.over[2])
  finish(id, job, 'failed', nil, false)
  return true
end
-- An outcome that is sent again may have counted: the job is then as this process left it.
local function unheard(done, proc)
  local job = live(done.id) or final(done.id)
  if not job or job.o ~= proc or job.T then return 'gone' end
  if done.to == 'release' then return job.text and 'gone' or 'already' end
  local went = done.to == 'retry' and not job.text or job.s == done.to
  return went and (job.n or '0') == num(done.n) and 'already' or 'gone'
end
local function commit(done, blobs, proc)
  local job = live(done.id)
  if not job or job.T ~= done.T then return done.again and unheard(done, proc) or 'gone' end
  if done.env and done.env > 0 then
    redis.call('SET', K.envelope..done.id, blobs[done.env])
    ENVELOPES[done.id] = blobs[done.env]
  end
  local fired = follow_ups(done, blobs)
  if done.to ~= 'release' then settle(job, done, blobs) end
  if done.to == 'retry' then
    redis.call('HSET', K.job..done.id, 'n', job.n, 'why', job.why or '', 'b', job.b)
    if job.eg then redis.call('HSET', K.job..done.id, 'eg', job.eg) end
    if job.rv then redis.call('DEL', job.rv) end
    job.f = nil
  end
  if deferred_too_often(done.id, job, done, blobs) then return 'ok' end
  if done.to == 'retry' or done.to == 'release' then
    if done.res and done.res > 0 then redis.call('SET', K.result..done.id, blobs[done.res]) end
    again(done.id, job, done)
  else
    local has = done.res and done.res > 0
    finish(done.id, job, done.to, has and blobs[done.res] or nil, has)
  end
  return fired and 'fired' or 'ok'
end
-- A job that just completed comes as a short list.
local function written_out(done)
  if not done[1] then return done end
  return {id = done[1], T = done[2], n = done[3], ms = done[4], b = done[5], res = done[6],
    to = 'completed', outcome = 'completed', rv = true}
end
local function close(ask)
  local plain = ask.plain and ask.plain.n or 0
  local blobs, statuses, ids = {unpack(ARGV, 3 + 4 * plain)}, {}, {}
  local refused = plain > 0 and close_plain(ask.proc, ask.plain) or {}
  local dones = {}
  for n, done in ipairs(ask.done) do dones[n] = written_out(done) end
  for _, done in ipairs(refused) do dones[#dones + 1] = read_plain(done, blobs) end
  for n, done in ipairs(dones) do ids[n] = done.id end
  if #ids == 0 then return statuses end
  read_envelopes(ids)
  for n, done in ipairs(dones) do statuses[n] = commit(done, blobs, ask.proc) end
  let_go(ask.proc, dones, ids)
  return statuses
end
