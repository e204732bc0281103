-- A set may be named by several: it is what stands in each of them, by the latest time in any.
local function crossed(names)
  local ask = {'ZINTER', #names}
  for _, name in ipairs(names) do ask[#ask + 1] = name end
  ask[#ask + 1], ask[#ask + 2], ask[#ask + 3] = 'AGGREGATE', 'MAX', 'WITHSCORES'
  return redis.call(unpack(ask))
end
local function cost_of_crossing(names)
  local least = redis.call('ZCARD', names[1])
  for at = 2, #names do least = math.min(least, redis.call('ZCARD', names[at])) end
  return least
end
-- Tells whether a score is inside bounds that are written as ZRANGEBYSCORE takes them.
local function is_inside(score, low, high)
  score = tonumber(score)
  local function bound(text)
    if text == '-inf' then return -math.huge, false end
    if text == '+inf' then return math.huge, false end
    if string.sub(text, 1, 1) == '(' then return tonumber(string.sub(text, 2)), true end
    return tonumber(text), false
  end
  local least, above = bound(low)
  local most, below = bound(high)
  return score >= least and score <= most and not (above and score == least) and not (below and score == most)
end
