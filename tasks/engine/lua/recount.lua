--[[
recount: compare the standing counts (lib/counts) with the jobs that stand there, and add what differs.
A set is read in stretches of ascending score. A job enters its state with a score above all others, so
a stretch that has as many members as when it was read has the same ones: `settle` reads again those
that lost some, and what came after the last one. That and the counts are of one moment, and each right
change alters both alike: what differs then, differs until somebody adds it.

Called by  recounting.Recount
ARGV 1     now_ms   Unix time in milliseconds; 0 = Redis's clock
ARGV 2     verb     sums, read, settle or add
ARGV 3     JSON     sums:   {{queue, state, {task, ...}}, ...}, at most 200 sets and 2 000 tasks
                    read:   {q, s, above and upto (scores), most}
                    settle: {q, s, most, highest {score, ...}, sizes {members, ...}, tasks {task, ...}}
                    add:    {added (as settle answered), more {field: difference}, found {text, ...}}
Returns    sums:   {{members, sum of the counts of those tasks}, ...}
           read:   {members, the last one's score or "", {task, members, ...}}
           settle: {added, {{number, members, {task, members, ...}}, ...}, {task, counted, ...}} of the
                   stretches that changed, the last number + 1 being what came after; where those have
                   more than `most` members {"", {numbers}, {}}
           add:    1, or 0 where somebody added since
Touches    add: the standing counts, fsck_last
Cost       O(members read + stretches * log m)
]]
--@include lib/clock
local KEPT = 50
local FINAL = {completed = true, failed = true, cancelled = true}
local function final_task(id, queue, state)
  local line = redis.call('GETRANGE', K.final..id, 0, 1023)
  if #line == 1024 and not string.find(line, '\n', 1, true) then line = redis.call('GET', K.final..id) end
  local s, task, q = string.match(line, '^.\t([^\t]*)\t[^\t]*\t([^\t]*)\t([^\t]*)\t')
  return s == state and q == queue and task or nil
end
-- The task of a member; nil where its own record says that it is not there (fsck mends that).
local function task_of(id, queue, state)
  if FINAL[state] then return final_task(id, queue, state) end
  local job = redis.call('HMGET', K.job..id, 's', 'q', 't')
  return job[1] == state and job[2] == queue and (job[3] or '') or nil
end
local function read(ask, above, upto, most)
  local found, tasks = redis.call('ZRANGEBYSCORE', K.state..ask.q..':'..ask.s, above, upto,
    'LIMIT', 0, most, 'WITHSCORES'), {}
  for n = 1, #found, 2 do
    local task = task_of(found[n], ask.q, ask.s)
    if task then tasks[task] = (tasks[task] or 0) + 1 end
  end
  local flat = {}
  for task, n in pairs(tasks) do
    flat[#flat + 1] = task
    flat[#flat + 1] = n
  end
  return {#found / 2, found[#found] or '', flat}
end
local function counted(ask, changed)
  local flat, asked = {}, {}
  local function look(task)
    if asked[task] then return end
    asked[task] = true
    flat[#flat + 1] = task
    flat[#flat + 1] = redis.call('HGET', K.counts, ask.q..'|'..task..'|'..ask.s) or '0'
  end
  for _, task in ipairs(ask.tasks) do look(task) end
  for _, stretch in ipairs(changed) do for n = 1, #stretch[3], 2 do look(stretch[3][n]) end end
  return flat
end
local function above(ask, n) return n > 1 and '('..ask.highest[n - 1] or '-inf' end
local function changed(ask)
  local numbers, many, key = {}, 0, K.state..ask.q..':'..ask.s
  for n = 1, #ask.sizes + 1 do
    local size = redis.call('ZCOUNT', key, above(ask, n), ask.highest[n] or '+inf')
    if size ~= (ask.sizes[n] or 0) then
      numbers[#numbers + 1] = n
      many = many + size
    end
  end
  return numbers, many
end
local VERBS = {}
function VERBS.read(ask) return read(ask, ask.above, ask.upto, ask.most) end
function VERBS.sums(ask)
  local found = {}
  for n, set in ipairs(ask) do
    local sum = 0
    for _, task in ipairs(set[3]) do
      sum = sum + tonumber(redis.call('HGET', K.counts, set[1]..'|'..task..'|'..set[2]) or '0')
    end
    found[n] = {redis.call('ZCARD', K.state..set[1]..':'..set[2]), num(sum)}
  end
  return found
end
function VERBS.settle(ask)
  local numbers, many = changed(ask)
  if many > ask.most then return {'', numbers, {}} end
  local stretches = {}
  for i, n in ipairs(numbers) do
    local now = read(ask, above(ask, n), ask.highest[n] or '+inf', ask.most)
    stretches[i] = {n, now[1], now[3]}
  end
  return {redis.call('HGET', K.meta, 'recounts') or '0', stretches, counted(ask, stretches)}
end
function VERBS.add(ask)
  if (redis.call('HGET', K.meta, 'recounts') or '0') ~= ask.added then return 0 end
  may_exceed_memory()
  redis.call('HINCRBY', K.meta, 'recounts', 1)
  for field, more in pairs(ask.more) do
    if redis.call('HINCRBY', K.counts, field, more) == 0 then redis.call('HDEL', K.counts, field) end
  end
  for _, text in ipairs(ask.found) do redis.call('RPUSH', K.fsck_last, CLOCK..'\t'..text) end
  redis.call('LTRIM', K.fsck_last, -KEPT, -1)
  return 1
end
clock(ARGV[1])
return VERBS[ARGV[2]](cjson.decode(ARGV[3]))
