--[[
ticks: what became of the last thirty ticks of a periodic task, in tk:<task>: when it was due, ms ->
outcome, job id, run ms, ended ms, joined by tabs. The outcome is fired, held (its unique key was
taken), missed (nobody fired it), off, or the job's final state.
]]
local TICKS_KEPT = 30
local function note_tick(task, at_ms, outcome, id)
  local key = K.ticks..task
  redis.call('HSET', key, at_ms, outcome..'\t'..(id or '')..'\t\t')
  local over = redis.call('HLEN', key) - TICKS_KEPT
  if over <= 0 then return end
  local known = redis.call('HKEYS', key)
  table.sort(known, function(a, b) return tonumber(a) < tonumber(b) end)
  for n = 1, over do redis.call('HDEL', key, known[n]) end
end
-- A tick's job ended: its figure pt says which tick it was.
local function end_tick(id, job, state)
  local key = K.ticks..job.t
  if redis.call('HEXISTS', key, job.pt) == 0 then return end
  local ran = job.b and num(CLOCK_MS - tonumber(job.b)) or ''
  redis.call('HSET', key, job.pt, table.concat({state, id, ran, CLOCK}, '\t'))
end
