--[[
jobs: walk jobs by time of change over any number of sets, merged as one, and test each by its figures.

Called by  finding._look
ARGV 1     JSON     {keys [whole names of zsets by time of change, or several of which a member
                    has to stand in each], up (towards newer), from (score to
                    go on from, exclusive, or ""), oldest, newest (bounds: scores or ""), look (most
                    members), rows (most answers), tests [lib/matching], needles [lower case texts that
                    a job's bytes must hold], count (answer no rows), bars {first, step (us), many}}
Returns    {rows, looked at, last score looked at or "", matched, {count a bar}, {failed a bar}}; a row
           is {score, id, figures (flat hash, empty when final), final text, envelope, last attempt,
           progress}, in the order walked; fewer looked at than `look` and fewer rows than `rows`:
           the end was reached
Touches    nothing
Cost       O(keys + look log keys), and the smallest set of several
]]
--@include lib/matching
--@include lib/crossed
local ask = cjson.decode(ARGV[1])
local low = ask.oldest ~= '' and ask.oldest or '-inf'
local high = ask.newest ~= '' and ask.newest or '+inf'
if ask.from ~= '' then
  if ask.up then low = '('..ask.from else high = '('..ask.from end
end
-- Each set is a stream that is read in growing batches; a heap holds the streams by their next score.
local heap, batch = {}, math.max(1, math.min(64, math.ceil(ask.look / math.max(1, #ask.keys))))
local function before(a, b)
  if ask.up then return a.score < b.score end
  return a.score > b.score
end
local function sink(at)
  while true do
    local best = at
    for child = 2 * at, 2 * at + 1 do
      if heap[child] and before(heap[child], heap[best]) then best = child end
    end
    if best == at then return end
    heap[at], heap[best] = heap[best], heap[at]
    at = best
  end
end
local function meet(stream)
  local members = stream.part and {} or crossed(stream.key)
  stream.part, stream.at = {}, 1
  local first, last, step = 1, #members - 1, 2
  if not ask.up then first, last, step = last, first, -2 end
  for at = first, last, step do
    if is_inside(members[at + 1], low, high) then
      stream.part[#stream.part + 1], stream.part[#stream.part + 2] = members[at], members[at + 1]
    end
  end
  stream.score = tonumber(stream.part[2])
  return #stream.part > 0
end
local function fill(stream)
  if type(stream.key) == 'table' then return meet(stream) end
  local verb = ask.up and 'ZRANGEBYSCORE' or 'ZREVRANGEBYSCORE'
  local from, to = ask.up and (stream.edge or low) or (stream.edge or high), ask.up and high or low
  stream.part = redis.call(verb, stream.key, from, to, 'WITHSCORES', 'LIMIT', 0, stream.batch)
  stream.at = 1
  if #stream.part == 0 then return false end
  stream.edge = '('..stream.part[#stream.part]
  stream.batch = math.min(200, stream.batch * 2)
  stream.score = tonumber(stream.part[2])
  return true
end
for _, key in ipairs(ask.keys) do
  local stream = {key = key, batch = batch}
  if fill(stream) then heap[#heap + 1] = stream end
end
for at = math.floor(#heap / 2), 1, -1 do sink(at) end
local function next_member()
  local stream = heap[1]
  local id, score = stream.part[stream.at], stream.part[stream.at + 1]
  stream.at = stream.at + 2
  if stream.at <= #stream.part then
    stream.score = tonumber(stream.part[stream.at + 1])
  elseif not fill(stream) then
    heap[1] = heap[#heap]
    heap[#heap] = nil
  end
  if #heap > 0 then sink(1) end
  return id, score
end
local rows, looked, edge, matched, bars, failed, seen = {}, 0, '', 0, {}, {}, ''
local function put_in_bar(job, score)
  local at = math.floor((tonumber(score) - ask.bars.first) / ask.bars.step) + 1
  if at < 1 or at > ask.bars.many then return end
  bars[at] = bars[at] + 1
  if job.s == 'failed' then failed[at] = failed[at] + 1 end
end
if ask.bars then
  for at = 1, ask.bars.many do bars[at], failed[at] = 0, 0 end
end
while #heap > 0 and looked < ask.look and #rows < ask.rows do
  local id, score = next_member()
  edge = score
  if id ~= seen then
    seen, looked = id, looked + 1
    local found = load(id)
    if found and matches(id, found, ask) then
      matched = matched + 1
      if ask.bars then put_in_bar(figures(found), score) end
      if not ask.count then rows[#rows + 1] = row_of(id, score, found) end
    end
  end
end
return {rows, looked, edge, matched, bars, failed}
