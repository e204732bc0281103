--[[
counts: what a script changes, summed in memory and written once when it ends (sources.py appends
`write_counts()` to each script that includes this), so a call that finishes many jobs of a task
writes a handful of fields. AT_END: what else is done once, first.
Minute fields are queue|task|what; what is n (new and ready), l (new, for later), a (ready again, or
  come from another queue), w<bucket> (taken, how long it waited), p<bucket> (ready to finished, task left empty), d (its worker
  died), and of an attempt or end c completed, f failed, x cancelled, r retried, each with the bucket
  of its run where one ran. Standing fields are queue|task|state: the jobs in that state now.
]]
--@include lib/clock
--@include lib/sets
local MINUTES_KEPT_S = 176400
local RUNS_KEPT = 60
local COUNTED, STANDING, RAN = {}, {}, {}
local RESULTS = 0 -- kept and not read yet: so many more
local HALF_OCTAVES = 2.8853900817779268 -- 2 / log(2); Redis has no math while it loads a function
-- Log-spaced, two buckets an octave, from 0 ms to about 12 days; metrics.py has the inverse.
local BUCKETS = {}
local function bucket(ms)
  if ms < 1 then return '0' end
  local found = BUCKETS[ms]
  if not found then
    found = num(math.min(60, math.floor(math.log(ms) * HALF_OCTAVES) + 1))
    BUCKETS[ms] = found
  end
  return found
end
local function tally(sums, field, by) sums[field] = (sums[field] or 0) + by end
-- The sums of a queue's task; field names are joined once, when they are written.
local function cell(sums, queue, task)
  local tasks = sums[queue]
  if not tasks then
    tasks = {}
    sums[queue] = tasks
  end
  local found = tasks[task]
  if not found then
    found = {}
    tasks[task] = found
  end
  return found
end
local function count(job, what) tally(cell(COUNTED, job.q, job.t or ''), what, 1) end
local function count_queue(queue, what) tally(cell(COUNTED, queue, ''), what, 1) end
local function stand(job, state, by) tally(cell(STANDING, job.q, job.t or ''), state, by) end
local function each_sum(sums, act)
  for queue, tasks in pairs(sums) do
    for task, counts in pairs(tasks) do
      local prefix = queue..'|'..task..'|'
      for what, n in pairs(counts) do act(prefix..what, n) end
    end
  end
end
local function runs_of(task)
  local lines = RAN[task] or {}
  RAN[task] = lines
  return lines
end
-- One more run of a task: id, ms, how it ended, when.
local function ran(id, job, letter, ms)
  local lines = runs_of(job.t)
  lines[#lines + 1] = id..'\t'..num(ms)..'\t'..letter..'\t'..CLOCK
end
local function write_runs()
  for task, lines in pairs(RAN) do
    redis.call('RPUSH', K.runs..task, unpack(lines, math.max(1, #lines - RUNS_KEPT + 1)))
    redis.call('LTRIM', K.runs..task, -RUNS_KEPT, -1)
  end
end
local AT_END = {}
local function write_counts()
  for _, act in ipairs(AT_END) do act() end
  write_sets()
  write_clock()
  write_runs()
  if RESULTS ~= 0 then redis.call('HINCRBY', K.meta, 'results', RESULTS) end
  each_sum(STANDING, function(field, n)
    if n ~= 0 and redis.call('HINCRBY', K.counts, field, n) == 0 then
      redis.call('HDEL', K.counts, field)
    end
  end)
  if not next(COUNTED) then return end
  local key = K.minute..math.floor(CLOCK_MS / 60000)
  each_sum(COUNTED, function(field, n)
    if redis.call('HINCRBY', key, field, n) == n then redis.call('EXPIRE', key, MINUTES_KEPT_S) end
  end)
end
