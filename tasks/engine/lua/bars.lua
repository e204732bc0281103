--[[
bars: how many members of some sets lie in each span of time.

Called by  finding._counted
ARGV 1     JSON     {keys, failed [those of keys that are counted apart], edges [scores as text; one
                    more than there are bars]}
Returns    {{count a bar}, {failed a bar}}
Touches    nothing
Cost       O(keys * bars * log m)
]]
local ask = cjson.decode(ARGV[1])
local bars, failed, apart = {}, {}, {}
for at = 1, #ask.edges - 1 do bars[at], failed[at] = 0, 0 end
for _, key in ipairs(ask.failed) do apart[key] = true end
for _, key in ipairs(ask.keys) do
  for at = 1, #bars do
    local many = redis.call('ZCOUNT', key, '('..ask.edges[at], ask.edges[at + 1])
    bars[at] = bars[at] + many
    if apart[key] then failed[at] = failed[at] + many end
  end
end
return {bars, failed}
