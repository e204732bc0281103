--[[
snapshot: counts, oldest and options of every queue, in one answer.

Called by  reads.snapshot
ARGV 1..   queues   the declared ones
Returns    {now_ms, {{seven counts, oldest change us or "", options (flat), name}, ...} of the declared
           queues in the order given, then of others that were used, {{slots, queues, wish, version,
           started}, ...} of the processes alive, score of the newest completed job or "", {{pause, its
           text, jobs parked for it}, ...}, error groups that are open or returned, those of them that a
           failed job carries}
Touches    nothing
Cost       O(queues)
]]
--@include lib/groups
local STATES = {'scheduled', 'waiting', 'active', 'retrying', 'completed', 'failed', 'cancelled'}
local OFTEN = {waiting = true, completed = true, failed = true}
clock('0')
local names, known, newest = {}, {}, 0
for n, q in ipairs(ARGV) do names[n], known[q] = q, true end
local used = redis.call('SMEMBERS', K.queues)
table.sort(used)
for _, q in ipairs(used) do
  if not known[q] then names[#names + 1] = q end
end
local queues = {}
for n, q in ipairs(names) do
  local at, counts, oldest = K.state..q..':', {}, ''
  -- Of hundreds of queues most have none of these: one command instead of four.
  local some = redis.call('EXISTS', at..'scheduled', at..'active', at..'retrying', at..'cancelled') > 0
  for i, state in ipairs(STATES) do
    counts[i] = (some or OFTEN[state]) and redis.call('ZCARD', at..state) or 0
  end
  if counts[2] > 0 then oldest = redis.call('ZRANGE', at..'waiting', 0, 0, 'WITHSCORES')[2] end
  if counts[5] > 0 then
    newest = math.max(newest, tonumber(redis.call('ZREVRANGE', at..'completed', 0, 0, 'WITHSCORES')[2]))
  end
  queues[n] = {counts, oldest, redis.call('HGETALL', K.queue..q), q}
end
local procs = redis.call('ZRANGEBYSCORE', K.procs, CLOCK, '+inf', 'LIMIT', 0, 1000)
for n, proc in ipairs(procs) do
  procs[n] = redis.call('HMGET', K.proc..proc, 'slots', 'queues', 'wish', 'version', 'started')
end
local pauses = redis.call('HGETALL', K.pauses)
local paused = {}
for i = 1, #pauses, 2 do
  paused[#paused + 1] = {pauses[i], pauses[i + 1], redis.call('ZCARD', K.parked..pauses[i])}
end
local open_groups, failing = 0, 0
for _, group in ipairs(redis.call('ZREVRANGE', K.groups, 0, 299)) do
  local state = group_state(K.group..group)
  if state == 'open' or state == 'returned' then
    open_groups = open_groups + 1
    if redis.call('EXISTS', K.found..'failed:group:'..group) == 1 then failing = failing + 1 end
  end
end
return {CLOCK, queues, procs,
  newest > 0 and num(newest) or '', paused, open_groups, failing}
