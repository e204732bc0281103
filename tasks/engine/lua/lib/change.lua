--[[
change: what an operator may change of a job that keeps its id: time, priority, queue, tags, arguments.
What a query can ask about is stamped (cu) where it changes in place, so that an operation whose
query was frozen before knows that the job is not as it was.
]]
--@include lib/record
local ACTS = {}
local TAGS_MOST = 20
local function untouched(id, note)
  local job = live(id) or final(id)
  if not job then return {0, '', 'there is no such job'} end
  return {0, job.s, note or 'the job is '..job.s}
end
local function envelope_of(id, job)
  if job.text then return kept_envelope(job) end
  return redis.call('GET', K.envelope..id) or ''
end
-- Write the named figures of a job that changed in place, and its envelope where one is given.
local function save(id, job, names, envelope)
  job.cu = change_us()
  if job.text then
    return keep_final(id, job, string.sub(job.text, 1, 1), envelope or envelope_of(id, job),
      kept_result(job))
  end
  for _, name in ipairs(names) do
    if job[name] and job[name] ~= '' then
      redis.call('HSET', K.job..id, name, job[name])
    else
      redis.call('HDEL', K.job..id, name)
    end
  end
  redis.call('HSET', K.job..id, 'cu', job.cu)
  if job.s == 'active' then redis.call('HSET', K.proc..job.o, 'touched', job.cu) end -- see lib/plain
  if envelope then redis.call('SET', K.envelope..id, envelope) end
end
-- Why a job may not have the unique key `key`: nil when it may.
local function holder_of(id, key)
  local holder = key and key ~= '' and redis.call('GET', K.unique..key)
  if holder and holder ~= id and redis.call('EXISTS', K.job..holder) == 1 then
    return 'job '..holder..' holds the same unique key'
  end
end
local function take_key(id, job, key)
  if job.text or key == (job.u or '') then return end
  if job.u and redis.call('GET', K.unique..job.u) == id then redis.call('DEL', K.unique..job.u) end
  if key ~= '' then redis.call('SET', K.unique..key, id) end
end
-- Give a job other arguments: {sha of the envelope they were made from, env, ix, u}. Answers why not, or nil.
local function change_arguments(id, job, change)
  if redis.sha1hex(envelope_of(id, job)) ~= change.sha then return 'its arguments changed meanwhile' end
  local refused = holder_of(id, change.u)
  if refused then return refused end
  take_key(id, job, change.u)
  each_index(job, function(key) drop(key, id) end)
  job.ix, job.u = change.ix, change.u
  local us = read_set('ZSCORE', state_key(job.q, job.s), id)
  each_index(job, function(key) put(key, us, id) end)
  save(id, job, {'ix', 'u'}, change.env)
end
function ACTS.patch(id, options)
  local job = live(id) or final(id)
  if not job or job.s == 'active' or job.s == 'completed' then return untouched(id) end
  if not options.change then return {0, job.s, 'it is so already'} end
  local refused = change_arguments(id, job, options.change)
  return {refused and 0 or 1, job.s, refused or ''}
end
function ACTS.reschedule(id, options)
  local job = live(id)
  if not job or job.s == 'active' then return untouched(id) end
  local due = options.due or CLOCK_MS + (options.delay or 0)
  if job.s ~= 'waiting' and tonumber(job.d) == due then return {0, job.s, 'it is due then already'} end
  if due > CLOCK_MS then
    to_later(id, job, tonumber(job.n or '0') > 0 and 'retrying' or 'scheduled', due)
  elseif job.s ~= 'waiting' then
    to_waiting(id, job)
  else
    return {0, job.s, 'the job is waiting'}
  end
  return {1, job.s, ''}
end
function ACTS.priority(id, options)
  local job = live(id)
  if not job or job.s == 'active' then return untouched(id) end
  if tonumber(job.p or '0') == options.priority then return {0, job.s, 'it has that priority already'} end
  job.p = num(options.priority)
  if job.pk then unpark(id, job) end
  if job.s == 'waiting' then  -- its place among equals stays
    job.sc = num((100 - options.priority) * 1099511627776 + tonumber(job.sc) % 1099511627776)
    put(K.waiting..job.q, job.sc, id)
  end
  save(id, job, {'p', 'sc'})
  return {1, job.s, ''}
end
function ACTS.move(id, options)
  local job = live(id)
  if not job or job.s == 'active' then return untouched(id) end
  if job.q == options.queue then return {0, job.s, 'it is in '..job.q..' already'} end
  local state, ready = job.s, job.ra
  leave(id, job)
  job.q, job.s, job.came = options.queue, nil, true
  redis.call('HSET', K.job..id, 'q', job.q)
  redis.call('SADD', K.queues, job.q)
  if state ~= 'waiting' then
    to_later(id, job, state, tonumber(job.d))
  else
    to_waiting(id, job)
    if ready then redis.call('HSET', K.job..id, 'ra', ready) end
  end
  return {1, state, ''}
end
local function tagged(job)
  local list, set = {}, {}
  for tag in string.gmatch(job.tg or '', '%S+') do
    list[#list + 1] = tag
    set[tag] = true
  end
  return list, set
end
function ACTS.tag(id, options)
  local job = live(id) or final(id)
  if not job then return untouched(id) end
  local list, set = tagged(job)
  local before = #list
  for _, tag in ipairs(options.tags) do
    if not set[tag] then list[#list + 1] = tag end
    set[tag] = true
  end
  if #list == before then return {0, job.s, 'it has that tag already'} end
  if #list > TAGS_MOST then return {0, job.s, 'a job has at most '..TAGS_MOST..' tags'} end
  retag(id, job, table.concat(list, ' '))
  save(id, job, {'tg'})
  return {1, job.s, ''}
end
function ACTS.untag(id, options)
  local job = live(id) or final(id)
  if not job then return untouched(id) end
  local gone, kept, list = {}, {}, tagged(job)
  for _, tag in ipairs(options.tags) do gone[tag] = true end
  for _, tag in ipairs(list) do if not gone[tag] then kept[#kept + 1] = tag end end
  if #kept == #list then return {0, job.s, 'it has no such tag'} end
  retag(id, job, table.concat(kept, ' '))
  if job.pk then unpark(id, job) end
  save(id, job, {'tg'})
  return {1, job.s, ''}
end
