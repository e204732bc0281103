--[[
groups: equal failures as one record. eg:<group> holds class, title (the cleaned message), said (the
first one as it came), place, first, last, n attempts failed, job (the last one), st open, muted,
resolved or returned, until (muted, ms), since (of that state, ms), away (resolved before it returned,
ms), by, note, noted (ms), noter, and t|<task> with a count each.
Kept 30 days after the last failure or act; the newest 1 000, resolved ones go first.
]]
--@include lib/move
local GROUPS_KEPT, GROUP_KEPT_MS, SPARK_FIELDS = 1000, 2592000000, 420
local function forget_group(group)
  redis.call('ZREM', K.groups, group)
  redis.call('DEL', K.group..group, K.spark..group)
end
local function make_room_for_group()
  if redis.call('ZCARD', K.groups) < GROUPS_KEPT then return end
  local oldest = redis.call('ZRANGE', K.groups, 0, 49)
  for _, group in ipairs(oldest) do
    local state = redis.call('HGET', K.group..group, 'st')
    if not state or state == 'resolved' then return forget_group(group) end
  end
  forget_group(oldest[1])
end
-- Failures a minute for 3 hours and an hour for 7 days; older fields go when there are many.
local function prune_spark(key)
  if redis.call('HLEN', key) <= SPARK_FIELDS then return end
  local minute, hour = math.floor(CLOCK_MS / 60000) - 180, math.floor(CLOCK_MS / 3600000) - 168
  for _, field in ipairs(redis.call('HKEYS', key)) do
    local at = tonumber(string.sub(field, 2))
    if at < (string.sub(field, 1, 1) == 'm' and minute or hour) then redis.call('HDEL', key, field) end
  end
end
local function group_spark(group)
  local key = K.spark..group
  redis.call('HINCRBY', key, 'h'..math.floor(CLOCK_MS / 3600000), 1)
  if redis.call('HINCRBY', key, 'm'..math.floor(CLOCK_MS / 60000), 1) == 1 then prune_spark(key) end
  redis.call('PEXPIRE', key, GROUP_KEPT_MS)
end
-- A group's state now: a mute that is over counts as open; nil when its record is gone.
local function group_state(key)
  local now = redis.call('HMGET', key, 'st', 'until')
  if now[1] == 'muted' and now[2] and tonumber(now[2]) <= CLOCK_MS then return 'open' end
  return now[1] or nil
end
-- A resolved group that fails again has returned; a mute that is over is open again.
local function group_wakes(key)
  local now = redis.call('HMGET', key, 'st', 'until', 'since')
  if now[1] == 'resolved' then
    redis.call('HSET', key, 'st', 'returned', 'since', CLOCK,
      'away', num(CLOCK_MS - tonumber(now[3] or CLOCK_MS)))
  elseif now[1] == 'muted' and now[2] and tonumber(now[2]) <= CLOCK_MS then
    redis.call('HSET', key, 'st', 'open', 'since', now[2])
    redis.call('HDEL', key, 'until')
  end
end
local function group_failed(id, job, err)
  local group, key = err[1], K.group..err[1]
  if redis.call('EXISTS', key) == 0 then
    make_room_for_group()
    redis.call('HSET', key, 'first', CLOCK, 'st', 'open', 'since', CLOCK)
  else
    group_wakes(key)
  end
  redis.call('HSET', key, 'class', err[2], 'title', err[3], 'place', err[4], 'last', CLOCK, 'job', id)
  if err[5] then redis.call('HSETNX', key, 'said', err[5]) end
  redis.call('HINCRBY', key, 'n', 1)
  redis.call('HINCRBY', key, 't|'..job.t, 1)
  redis.call('PEXPIRE', key, GROUP_KEPT_MS)
  redis.call('ZADD', K.groups, CLOCK, group)
  redis.call('PEXPIRE', K.groups, GROUP_KEPT_MS)
  group_spark(group)
end
