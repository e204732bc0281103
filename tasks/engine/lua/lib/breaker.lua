--[[
breaker: a queue's circuit breaker, in q:<queue>. bs open or probing (absent: closed), bo since ms,
bp next probe ms, bx wait before the next probe ms, bj the probe's job, bg generation, bf faults in
the window that began at ba, br reason, bl last reason.
]]
--@include lib/record
local OPENS_AT, WINDOW_MS, FIRST_WAIT_MS, LONGEST_WAIT_MS = 5, 60000, 15000, 300000
local function jittered(ms)
  math.randomseed(CLOCK_US % 2147483647)
  return math.floor(ms * (0.8 + 0.4 * math.random()))
end
local function breaker_open(key, wait_ms, reason)
  redis.call('HSET', key, 'bs', 'open', 'bp', num(CLOCK_MS + jittered(wait_ms)), 'bx', num(wait_ms),
    'br', reason)
  redis.call('HSETNX', key, 'bo', CLOCK)
  redis.call('HINCRBY', key, 'bg', 1)
  redis.call('HDEL', key, 'bj')
end
local function breaker_close(key, queue)
  redis.call('HDEL', key, 'bs', 'bo', 'bp', 'bx', 'bj', 'bf', 'ba', 'br')
  redis.call('HINCRBY', key, 'bg', 1)
  wake(queue)
end
local function breaker_fault(key, state, reason, at_once)
  if state == 'open' then return end
  local window = redis.call('HMGET', key, 'bf', 'ba')
  local faults = 1
  if window[2] and CLOCK_MS - tonumber(window[2]) < WINDOW_MS then
    faults = tonumber(window[1]) + 1
    redis.call('HSET', key, 'bf', faults)
  else
    redis.call('HSET', key, 'bf', 1, 'ba', CLOCK)
  end
  if at_once or faults >= OPENS_AT then breaker_open(key, FIRST_WAIT_MS, reason) end
end
-- What one attempt says of the outside: job.bg is the generation it was fetched in.
local function breaker_told(id, job, told)
  local key = K.queue..job.q
  local now = redis.call('HMGET', key, 'bs', 'bj', 'bx', 'bg')
  if now[1] == 'probing' and now[2] == id then
    if told and told.fault then
      breaker_open(key, math.min(LONGEST_WAIT_MS, tonumber(now[3]) * 2), told.fault)
    else
      breaker_close(key, job.q)
    end
  elseif told and told.fault then
    breaker_fault(key, now[1], told.fault, told.now)
  elseif told and told.healthy and not now[1] and (job.bg or '0') == (now[4] or '0') then
    redis.call('HDEL', key, 'bf', 'ba')
  end
end
-- When a job that defers to the breaker runs next: the probe time, or 15 s while it is closed.
local function breaker_due(queue)
  local now = redis.call('HMGET', K.queue..queue, 'bs', 'bp')
  if now[1] and now[2] then return math.max(tonumber(now[2]), CLOCK_MS + 1000) end
  return CLOCK_MS + FIRST_WAIT_MS
end
-- May the fetch take from this queue? 'yes', 'no', or 'probe' for exactly one job.
local function breaker_allows(key)
  local now = redis.call('HMGET', key, 'bs', 'bp', 'bj')
  if not now[1] then return 'yes' end
  if now[1] == 'probing' and redis.call('HGET', K.job..(now[3] or '-'), 's') == 'active' then
    return 'no'
  end
  if now[1] == 'open' and CLOCK_MS < tonumber(now[2]) then return 'no' end
  return 'probe'
end
