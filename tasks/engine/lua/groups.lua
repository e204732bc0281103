--[[
groups: error groups, the newest failure first, with counts of each state.

Called by  grouping.error_groups, grouping.error_group
ARGV 1     JSON     {group (one alone, or ""), states [wanted], limit, fields [of a spark]}
Returns    {now_ms, {open, muted, resolved, returned}, {{group, record (flat hash), {failures of the
           fields asked}, {scheduled, retrying, failed, cancelled jobs that carry it}}, ...}}
Touches    nothing; a mute that is over counts as open
Cost       O(groups), at most 1 000
]]
--@include lib/groups
clock('0')
local ask = cjson.decode(ARGV[1])
local counts, found, wanted = {open = 0, muted = 0, resolved = 0, returned = 0}, {}, {}
for _, state in ipairs(ask.states) do wanted[state] = true end
local function whole(group)
  local resting = {}
  for n, state in ipairs({'scheduled', 'retrying', 'failed', 'cancelled'}) do
    resting[n] = redis.call('ZCARD', K.found..state..':group:'..group)
  end
  return {group, redis.call('HGETALL', K.group..group),
    redis.call('HMGET', K.spark..group, unpack(ask.fields)), resting}
end
local groups = ask.group ~= '' and {ask.group} or redis.call('ZREVRANGE', K.groups, 0, 999)
for _, group in ipairs(groups) do
  local state = group_state(K.group..group)
  if state then
    counts[state] = counts[state] + 1
    if wanted[state] and #found < ask.limit then found[#found + 1] = whole(group) end
  end
end
return {CLOCK, {counts.open, counts.muted, counts.resolved, counts.returned}, found}
