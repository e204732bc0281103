--[[
plain: jobs that completed, whose worker wrote what becomes of them: nothing hung on them when they were
taken (is_plain in lib/take) but what was handed out with them. Writing it costs a worker little, and
Redis, which all workers share, a tenth of what it costs here. They are closed together where each
token is still theirs and none was changed since it was taken; else one by one, by lib/commit.
plain: n, kinds {{queue, task, n, {counts}, {counts of the queue}}, ...}, res (results
  kept), last (when the last one finished, ms), found {{position, argument indexes, by}, ...} of those
  that have some. ARGV from 3 on: id, token, final line and line among its task's
  runs of each, in the order of the kinds.
]]
--@include lib/record
local function plain_ids(many)
  local ids = {}
  for n = 1, many do ids[n] = ARGV[4 * n - 1] end
  return ids
end
-- An operator who changes a job that runs says so at its process (save in lib/change): in us, as tokens begin.
local function are_ours(proc, ids)
  local touched = tonumber(redis.call('HGET', K.proc..proc, 'touched') or '0')
  for n, token in ipairs(redis.call('HMGET', K.held..proc, unpack(ids))) do
    if token ~= ARGV[4 * n] then return false end
    if touched > 0 and tonumber(string.match(token, '^%d+')) <= touched then return false end
  end
  return true
end
local function count_plain(kind)
  local queue, task, many = kind[1], kind[2], kind[3]
  local standing = cell(STANDING, queue, task)
  tally(standing, 'active', -many)
  tally(standing, 'completed', many)
  for what, n in pairs(kind[4]) do tally(cell(COUNTED, queue, task), what, n) end
  for what, n in pairs(kind[5]) do tally(cell(COUNTED, queue, ''), what, n) end
  ended(queue, 'completed', many)
end
-- Move the jobs of a kind, the first at position `first`, to where the completed are. Answers their times of change.
local function move_plain(kind, ids, first, times)
  local active, completed = state_key(kind[1], 'active'), state_key(kind[1], 'completed')
  local runs = runs_of(kind[2])
  for n = first, first + kind[3] - 1 do
    times[n] = change_us()
    drop(active, ids[n])
    put(completed, times[n], ids[n])
    runs[#runs + 1] = ARGV[4 * n + 2]
  end
end
local function write_plain(ids)
  local finals, gone = {}, {}
  for n, id in ipairs(ids) do
    finals[2 * n - 1], finals[2 * n] = K.final..id, ARGV[4 * n + 1]
    local at = 5 * n
    gone[at - 4], gone[at - 3], gone[at - 2] = K.job..id, K.envelope..id, K.progress..id
    gone[at - 1], gone[at] = K.result..id, K.value..'r:'..id
  end
  redis.call('MSET', unpack(finals))
  redis.call('DEL', unpack(gone))
end
-- Close them all. Answers nothing, or the positions of those that are to be closed one by one: of all.
local function close_plain(proc, plain)
  local ids, times, at = plain_ids(plain.n), {}, 1
  if plain.last > CLOCK_MS or not are_ours(proc, ids) then
    for n = 1, #ids do times[n] = n end
    return times
  end
  for _, kind in ipairs(plain.kinds) do
    move_plain(kind, ids, at, times)
    count_plain(kind)
    at = at + kind[3]
  end
  for _, found in ipairs(plain.found) do
    local us, id = times[found[1]], ids[found[1]]
    each_index({ix = found[2], by = found[3] ~= '' and found[3] or nil}, function(key) put(key, us, id) end)
  end
  write_plain(ids)
  RESULTS = RESULTS + plain.res
  redis.call('HDEL', K.held..proc, unpack(ids))
end
-- What lib/commit takes of the one at this position.
local function read_plain(n, blobs)
  local job = parse_final(ARGV[4 * n + 1])
  local begun = tonumber(job.b)
  if unread(job) then blobs[#blobs + 1] = kept_result(job) end
  return {id = ARGV[4 * n - 1], T = ARGV[4 * n], n = tonumber(job.n), b = begun, ms = tonumber(job.f) - begun,
    res = unread(job) and #blobs, to = 'completed', outcome = 'completed', rv = true}
end
