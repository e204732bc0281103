--[[
bars: how many members of some sets lie in each span of time.

Called by  finding._counted
ARGV 1     JSON     {keys [names, or several of which a member has to stand in each], failed [those of keys that are counted apart], edges [scores as text; one
                    more than there are bars, equally far apart]}
Returns    {{count a bar}, {failed a bar}}
Touches    nothing
Cost       O(keys * bars * log m)
]]
--@include lib/crossed
local ask = cjson.decode(ARGV[1])
local bars, failed, apart = {}, {}, {}
for at = 1, #ask.edges - 1 do bars[at], failed[at] = 0, 0 end
local function name_of(key) return type(key) == 'table' and table.concat(key, '\n') or key end
for _, key in ipairs(ask.failed) do apart[name_of(key)] = true end
local function count(key, at, many)
  bars[at] = bars[at] + many
  if apart[name_of(key)] then failed[at] = failed[at] + many end
end
local first, step = tonumber(ask.edges[1]), tonumber(ask.edges[2]) - tonumber(ask.edges[1])
local function count_members(key)
  local members = crossed(key)
  for n = 2, #members, 2 do
    local at = math.ceil((tonumber(members[n]) - first) / step)
    if at >= 1 and at <= #bars then count(key, at, 1) end
  end
end
for _, key in ipairs(ask.keys) do
  if type(key) == 'table' then
    count_members(key)
  else
    for at = 1, #bars do
      count(key, at, redis.call('ZCOUNT', key, '('..ask.edges[at], ask.edges[at + 1]))
    end
  end
end
return {bars, failed}
