--[[
matching: does a job match, by its figures and by texts that its bytes hold; nothing is decoded.
A test is {f figure, v {value = true} or n [op, number] or has [texts], no (negated)}.
]]
--@include lib/move
-- A job as its keys hold it: text of a final one, flat figures of a live one.
local function load(id)
  local text = redis.call('GET', K.final..id)
  if text then return {text = text} end
  local flat = redis.call('HGETALL', K.job..id)
  return #flat > 0 and {flat = flat} or nil
end
local function figures(found)
  if found.job then return found.job end
  if found.text then
    found.job = parse_final(found.text)
  else
    found.job = {}
    for i = 1, #found.flat, 2 do found.job[found.flat[i]] = found.flat[i + 1] end
  end
  return found.job
end
local function last_attempt(id, found)
  found.attempt = found.attempt or redis.call('LINDEX', K.attempts..id, -1) or ''
  return found.attempt
end
local function envelope(id, found)
  if found.text then return '' end
  found.envelope = found.envelope or redis.call('GET', K.envelope..id) or ''
  return found.envelope
end
local function compares(number, test)
  local op, than = test[1], test[2]
  if op == '>' then return number > than elseif op == '<' then return number < than end
  return number == than
end
local TESTS = {}
function TESTS.task(job, test)
  for name in pairs(test.v) do
    if job.t == name or string.sub(job.t or '', -#name - 1) == '.'..name then return true end
  end
  return false
end
function TESTS.tag(job, test)
  for tag in string.gmatch(job.tg or '', '%S+') do if test.v[tag] then return true end end
  return false
end
function TESTS.worker(job, test)
  for part in pairs(test.v) do if string.find(job.o or '', part, 1, true) then return true end end
  return false
end
function TESTS.attempt(job, test)
  local made = tonumber(job.n or '0') + (job.s == 'active' and 1 or 0)
  for _, one in ipairs(test.n) do if compares(made, one) then return true end end
  return false
end
function TESTS.recovered(job, test) return (tonumber(job.k or '0') > 0) == test.yes end
local FIGURE = {state = 's', queue = 'q', group = 'eg', batch = 'bt', by = 'by'}
local function passes(job, test)
  local is = TESTS[test.f]
  local answer
  if is then answer = is(job, test) else answer = test.v[job[FIGURE[test.f]] or ''] == true end
  return answer ~= (test.no == true)
end
-- Typed values ("$") are shown in other words than they are kept in: those are left to the reader. Not so
-- what stands before the arguments (eta), which nobody searches, and what is sealed, which is not shown.
local function is_typed(bytes)
  local at = string.find(bytes, '"$":', string.find(bytes, '"args":', 1, true) or 1, true)
  if not at then return false end
  local open = string.gsub(string.sub(bytes, at - 1), '{"%$":"secret","v":"[^"]*"}', '')
  return string.find(open, '"$":', 1, true) ~= nil
end
-- What a job is asked to do; a result, which a failed job has too, is not searched.
local function order(id, found)
  if not found.text then return envelope(id, found) end
  return kept_envelope(figures(found))
end
local function holds(id, found, needles)
  local bytes = order(id, found)
  if is_typed(bytes) then return true end
  bytes = string.lower(id..'\n'..(figures(found).t or '')..'\n'..(figures(found).tg or '')..'\n'..bytes)
  for _, needle in ipairs(needles) do
    if not string.find(bytes, needle, 1, true)
      and not string.find(string.lower(last_attempt(id, found)), needle, 1, true) then return false end
  end
  return true
end
local function matches(id, found, ask)
  for _, test in ipairs(ask.tests) do
    if not passes(figures(found), test) then return false end
  end
  return #ask.needles == 0 or holds(id, found, ask.needles)
end
local function row_of(id, score, found)
  return {score, id, found.flat or {}, found.text or '', envelope(id, found),
    last_attempt(id, found), redis.call('GET', K.progress..id) or ''}
end
