--[[
sizes: how many members each set has between two scores.

Called by  finding._sizes
ARGV 1     JSON     {keys [whole names, or several of which a member has to stand in each], oldest, newest
                    (bounds: scores or ""), cross (most members looked up for the latter, in all)}
Returns    {count, ...} in the order given; -1 for what would look up too many
Touches    nothing
Cost       O(keys), O(keys * log m) with a bound; O(cross)
]]
--@include lib/crossed
local ask = cjson.decode(ARGV[1])
local found, left = {}, ask.cross
local low = ask.oldest ~= '' and ask.oldest or '-inf'
local high = ask.newest ~= '' and ask.newest or '+inf'
local function meeting(names)
  left = left - cost_of_crossing(names)
  if left < 0 then return -1 end
  local many, members = 0, crossed(names)
  for at = 2, #members, 2 do
    if is_inside(members[at], low, high) then many = many + 1 end
  end
  return many
end
for n, key in ipairs(ask.keys) do
  if type(key) == 'table' then
    found[n] = meeting(key)
  elseif ask.oldest == '' and ask.newest == '' then
    found[n] = redis.call('ZCARD', key)
  else
    found[n] = redis.call('ZCOUNT', key, low, high)
  end
end
return found
