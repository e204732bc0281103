--[[
bars: how many members of some sets lie in each of some equal spans of time.

Called by  finding._spans
ARGV 1     JSON     {keys [names, or several of which a member has to stand in each], failed [those of keys
                    that are counted apart], many (spans), and either first (where they begin, us) and
                    step (how long each is, us), or oldest_of [names: the spans go back to what is oldest
                    there], since, until (scores that bound them instead, or ""), lengths [us, rising:
                    the first that reaches back to the oldest is taken]}
Returns    {first, step, {count a span}, {failed a span}}; a span is without its begin and with its end
Touches    nothing
Cost       O(keys * spans that a key's members reach over * log m)
]]
--@include lib/clock
--@include lib/crossed
local ask = cjson.decode(ARGV[1])
local function score_at(key, place)
  return tonumber(redis.call('ZRANGE', key, place, place, 'WITHSCORES')[2])
end
local OLDEST = {}
local function oldest_of(key)
  local known = OLDEST[key]
  if known == nil then
    known = score_at(key, 0) or false
    OLDEST[key] = known
  end
  return known
end
local function oldest_score()
  local oldest
  for _, key in ipairs(ask.oldest_of) do
    local score = oldest_of(key)
    if score and not (oldest and score >= oldest) then oldest = score end
  end
  return oldest
end
local function begin()
  local oldest = oldest_score() or CLOCK_US
  for _, length in ipairs(ask.lengths) do
    if CLOCK_US - oldest <= length then return CLOCK_US - length end
  end
  return CLOCK_US - ask.lengths[#ask.lengths]
end
local first, step = ask.first, ask.step
if not first then
  clock('0')
  first = tonumber(ask.since) or begin()
  local last = tonumber(ask['until']) or CLOCK_US
  step = math.max(1, math.ceil((last - first) / ask.many))
  first = last - step * ask.many
end
local counts, failed, apart, ends = {}, {}, {}, {}
local function name_of(key) return type(key) == 'table' and table.concat(key, '\n') or key end
for _, key in ipairs(ask.failed) do apart[name_of(key)] = true end
for at = 1, ask.many do
  counts[at], failed[at], ends[at] = 0, 0, num(first + step * at)
end
ends[0] = num(first)
local function count(key, at, many)
  counts[at] = counts[at] + many
  if apart[name_of(key)] then failed[at] = failed[at] + many end
end
local function span_of(score) return math.ceil((score - first) / step) end
local function count_crossed(key)
  local members = crossed(key)
  for n = 2, #members, 2 do
    local at = span_of(tonumber(members[n]))
    if at >= 1 and at <= ask.many then count(key, at, 1) end
  end
end
-- Most sets reach over a few of the spans: what ended long ago is no longer kept, or never happened.
local function count_reach(key)
  local oldest = oldest_of(key)
  if not oldest then return end
  for at = math.max(1, span_of(oldest)), math.min(ask.many, span_of(score_at(key, -1))) do
    count(key, at, redis.call('ZCOUNT', key, '('..ends[at - 1], ends[at]))
  end
end
for _, key in ipairs(ask.keys) do
  if type(key) == 'table' then count_crossed(key) else count_reach(key) end
end
return {num(first), num(step), counts, failed}
