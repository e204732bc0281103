--[[
sizes: how many members each set has between two scores.

Called by  finding._sizes
ARGV 1     JSON     {keys [whole names], oldest, newest (bounds: scores or "")}
Returns    {count, ...} in the order given
Touches    nothing
Cost       O(keys), O(keys * log m) with a bound
]]
local ask = cjson.decode(ARGV[1])
local found = {}
for n, key in ipairs(ask.keys) do
  if ask.oldest == '' and ask.newest == '' then
    found[n] = redis.call('ZCARD', key)
  else
    found[n] = redis.call('ZCOUNT', key, ask.oldest ~= '' and ask.oldest or '-inf',
      ask.newest ~= '' and ask.newest or '+inf')
  end
end
return found
