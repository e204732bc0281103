--[[
fsck: look at some keys and members of sets; say, and mend where asked, what disagrees with the jobs' own
records. A job's record is the truth, every set an index of it.

Called by  checking.Check.look
ARGV 1     now_ms   Unix time in milliseconds; 0 = Redis's clock
ARGV 2     mend     1 or 0
ARGV 3..   items    kind, tab, name and for a member of a set: tab, member; at most 200
Returns    {what, name, ...}: two for each finding, also kept in fsck_last (the last 50)
Touches    what was found
Cost       O(items * log m)
]]
--@include lib/insert
may_exceed_memory()
clock(ARGV[1])
local MEND, FOUND, KEPT = ARGV[2] == '1', {}, 50
local STATES = {'scheduled', 'waiting', 'active', 'retrying', 'completed', 'failed', 'cancelled'}
local function wrong(what, name, mend)
  FOUND[#FOUND + 1] = what
  FOUND[#FOUND + 1] = name
  if MEND then
    redis.call('RPUSH', K.fsck_last, CLOCK..'\t'..what..'\t'..name)
    mend()
  end
end
local function known(id) return live(id) or final(id) end
local function is_later(job) return job.s == 'scheduled' or job.s == 'retrying' end
local function in_own_set(id, job)
  local key = K.state..job.q..':'..job.s
  if read_set('ZSCORE', key, id) then return end
  wrong('a job that its state\'s set does not name', id, function()
    local us = change_us()
    put(key, us, id)
    if RESTS[job.s] then each_found(job, function(name) put(name, us, id) end) end
  end)
end
local function in_own_indexes(id, job)
  each_index(job, function(key)
    if read_set('ZSCORE', key, id) then return end
    wrong('a job that its index does not name', id, function()
      put(key, read_set('ZSCORE', K.state..job.q..':'..job.s, id) or change_us(), id)
    end)
  end)
end
local function among_the_waiting(id, job)
  if job.s ~= 'waiting' then return end
  local key = job.pk and K.parked..job.pk or K.waiting..job.q
  if read_set('ZSCORE', key, id) then return end
  wrong('a waiting job that no worker would find', id, function()
    job.pk, job.sc = nil, job.sc or num((100 - tonumber(job.p or '0')) * 1099511627776 + next_seq())
    redis.call('HSET', K.job..id, 'sc', job.sc)
    redis.call('HDEL', K.job..id, 'pk')
    put(K.waiting..job.q, job.sc, id)
    wake(job.q)
  end)
end
local function among_the_due(id, job)
  if not is_later(job) or read_set('ZSCORE', K.due, id) or read_set('ZSCORE', K.handoff, id) then return end
  wrong('a scheduled job that would never come due', id, function()
    put(K.due, job.d or CLOCK, id)
    wake(job.q)
  end)
end
local function held_by_its_owner(id, job)
  if job.s ~= 'active' or redis.call('HGET', K.held..(job.o or ''), id) == job.T then return end
  wrong('an active job that no process holds', id, function() give_back(id, job) end)
end
local function owns_its_key(id, job)
  if not job.u then return end
  local holder = redis.call('GET', K.unique..job.u)
  if holder == id then return end
  wrong(holder and live(holder) and 'two jobs with one unique key' or 'a job without its unique key', id,
    function() if not (holder and live(holder)) then redis.call('SET', K.unique..job.u, id) end end)
end
local CHECKS = {}
function CHECKS.job(id)
  local job = live(id)
  if not job then return end
  if not (job.q and job.s and job.t) then
    return wrong('a job that lacks its queue, task or state', id, function()
      if redis.call('EXISTS', K.envelope..id) == 0 then redis.call('DEL', K.job..id) end
    end)
  end
  if redis.call('EXISTS', K.envelope..id) == 0 then
    return wrong('a live job whose envelope is gone', id, function()
      redis.call('HDEL', K.held..(job.o or ''), id)
      job.why = 'its envelope is gone'
      finish(id, job, 'failed', nil, false)
    end)
  end
  local old = final(id)
  if old then
    wrong('a job that is live and final', id, function()
      stand(old, old.s, -1)
      hide_result(old)
      drop(K.state..old.q..':'..old.s, id)
      redis.call('DEL', K.final..id)
    end)
  end
  held_by_its_owner(id, job)
  in_own_set(id, job)
  in_own_indexes(id, job)
  among_the_waiting(id, job)
  among_the_due(id, job)
  owns_its_key(id, job)
end
function CHECKS.final(id)
  local job = final(id)
  if job and redis.call('EXISTS', K.job..id) == 0 then
    in_own_set(id, job)
    in_own_indexes(id, job)
  end
end
local function trace(kind, only_live)
  return function(id)
    local there = only_live and live(id) or not only_live and known(id)
    if there or redis.call('EXISTS', K[kind]..id) == 0 then return end
    wrong(kind..' without a job', id, function() redis.call('DEL', K[kind]..id) end)
  end
end
CHECKS.envelope, CHECKS.progress = trace('envelope', true), trace('progress', true)
CHECKS.attempts, CHECKS.logs, CHECKS.touched = trace('attempts'), trace('logs'), trace('touched')
function CHECKS.unique(key)
  local holder = redis.call('GET', K.unique..key)
  local job = holder and live(holder)
  if not holder or (job and job.u == key) then return end
  wrong('a unique key held by no live job', key, function() redis.call('DEL', K.unique..key) end)
end
function CHECKS.batch(batch)
  local key = K.batch..batch
  if redis.call('HEXISTS', key, 'made') == 0 or redis.call('HEXISTS', key, 'sealed') == 1
      or redis.call('ZSCORE', K.adding, batch) then return end
  wrong('an open batch that no worker would close', batch, function() redis.call('ZADD', K.adding, CLOCK, batch) end)
end
function CHECKS.held(proc)
  local held = redis.call('HGETALL', K.held..proc)
  for i = 1, #held, 2 do
    local id, job = held[i], live(held[i])
    if not (job and job.s == 'active' and job.T == held[i + 1] and job.o == proc) then
      wrong('a process that holds what is not its own', id, function() redis.call('HDEL', K.held..proc, id) end)
    end
  end
  if #held > 0 and not redis.call('ZSCORE', K.procs, proc) then
    wrong('a process without a lease that holds jobs', proc,
      function() redis.call('ZADD', K.procs, CLOCK, proc) end)
  end
end
-- Members of sets: does the job that is named belong there?
local BELONGS = {
  state = function(name, job) return job.q..':'..job.s == name end,
  waiting = function(name, job) return job.s == 'waiting' and job.q == name and not job.pk end,
  parked = function(name, job) return job.s == 'waiting' and job.pk == name end,
  due = function(_, job) return is_later(job) end,
  handoff = function(_, job) return is_later(job) end,
  index = function(name, job) return job.ix and string.find(' '..job.ix..' ', ' '..name..' ', 1, true) end,
  children = function(name, job) return job.by == name end,
  found = function(name, job) return string.sub(name, 1, #job.s + 1) == job.s..':' end,
}
local function member(kind, name, id)
  local job, key = known(id), K[kind]
  if kind ~= 'due' and kind ~= 'handoff' then key = key..name end
  if (job and BELONGS[kind](name, job)) or not read_set('ZSCORE', key, id) then return end
  wrong(job and 'a set that names a job in another state' or 'a set that names a job that is gone', id,
    function() drop(key, id) end)
end
for n = 3, #ARGV do
  local kind, name, id = string.match(ARGV[n], '^([^\t]*)\t([^\t]*)\t?(.*)$')
  if id ~= '' then member(kind, name, id) else CHECKS[kind](name) end
end
if MEND and #FOUND > 0 then redis.call('LTRIM', K.fsck_last, -KEPT, -1) end
return FOUND
