--[[
snapshot: counts, oldest and options of every queue, in one answer.

Called by  reads.snapshot
ARGV 1..   queues   their names
Returns    {now_ms, {{seven counts, oldest change us or "", options (flat)}, ...} in the order
            given, {process, ...} alive, score of the newest completed job or "", {{pause, its text,
            jobs parked for it}, ...}, error groups that are open or returned}
Touches    nothing
Cost       O(queues)
]]
--@include lib/groups
local STATES = {'scheduled', 'waiting', 'active', 'retrying', 'completed', 'failed', 'cancelled'}
clock('0')
local queues, newest = {}, 0
for n, q in ipairs(ARGV) do
  local counts = {}
  for i, state in ipairs(STATES) do counts[i] = redis.call('ZCARD', K.state..q..':'..state) end
  local oldest = redis.call('ZRANGE', K.state..q..':waiting', 0, 0, 'WITHSCORES')
  local last = redis.call('ZREVRANGE', K.state..q..':completed', 0, 0, 'WITHSCORES')
  newest = math.max(newest, tonumber(last[2] or '0'))
  queues[n] = {counts, oldest[2] and num(tonumber(oldest[2])) or '',
    redis.call('HGETALL', K.queue..q)}
end
local pauses = redis.call('HGETALL', K.pauses)
local paused = {}
for i = 1, #pauses, 2 do
  paused[#paused + 1] = {pauses[i], pauses[i + 1], redis.call('ZCARD', K.parked..pauses[i])}
end
local open_groups = 0
for _, group in ipairs(redis.call('ZREVRANGE', K.groups, 0, 299)) do
  local state = group_state(K.group..group)
  if state == 'open' or state == 'returned' then open_groups = open_groups + 1 end
end
return {CLOCK, queues,
  redis.call('ZRANGEBYSCORE', K.procs, CLOCK, '+inf', 'LIMIT', 0, 200),
  newest > 0 and num(newest) or '', paused, open_groups}
