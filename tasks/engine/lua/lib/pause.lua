--[[
pause: tasks and tags that are paused, in `pauses`: t:<task> or g:<tag> -> until ms (empty: until
resumed), since ms, by, reason, joined by tabs. A job that may not start stays `waiting`: it lies in
s:<t:task or g:tag> with its score (its figure pk says where) until the pause is over, then returns.
]]
--@include lib/record
local PARKED_AT_ONCE, RETURNED_AT_ONCE = 50, 100
local PAUSED, parked = nil, 0
-- Answers whether this call may go on: it parks so many at most, and wakes another to go on.
local function park(id, job, reason)
  if parked >= PARKED_AT_ONCE then
    wake(job.q)
    return false
  end
  drop(K.waiting..job.q, id)
  put(K.parked..reason, job.sc, id)
  redis.call('HSET', K.job..id, 'pk', reason)
  parked = parked + 1
  return true
end
-- A chunk goes back in order, each with the score it had. Answers how many are left.
local function return_parked(reason)
  local key = K.parked..reason
  for _, id in ipairs(read_set('ZRANGE', key, 0, RETURNED_AT_ONCE - 1)) do
    local job = live(id)
    if job and job.pk == reason then unpark(id, job) else drop(key, id) end
  end
  return read_set('ZCARD', key)
end
-- Read the pauses once a call: nothing more is done while there are none. One that is over stays
-- in the hash until its last job is back.
local function read_pauses()
  local flat = redis.call('HGETALL', K.pauses)
  for i = 1, #flat, 2 do
    local over = tonumber(string.match(flat[i + 1], '^(%d+)'))
    if not over or CLOCK_MS < over then
      PAUSED = PAUSED or {}
      PAUSED[flat[i]] = true
    elseif return_parked(flat[i]) == 0 then
      redis.call('HDEL', K.pauses, flat[i])
    end
  end
end
local function paused_by(job)
  if PAUSED['t:'..(job.t or '')] then return 't:'..job.t end
  for tag in string.gmatch(job.tg or '', '%S+') do
    if PAUSED['g:'..tag] then return 'g:'..tag end
  end
end
