--[[
oldest: the lowest score in some sets, and the time.

Called by  finding._edges
ARGV 1..   names    of the sets
Returns    {now us, lowest score or ""}
Touches    nothing
Cost       O(keys)
]]
--@include lib/clock
clock('0')
local oldest
for _, key in ipairs(ARGV) do
  local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
  if first and not (oldest and tonumber(first) >= oldest) then oldest = tonumber(first) end
end
return {num(CLOCK_US), oldest and num(oldest) or ''}
