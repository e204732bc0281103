--[[
clock: what time it is, by Redis. No transition depends on a client's clock, and now never goes back.
now_ms: 0 means the server's clock; tests pass a number.
]]
--@include lib/num
local CLOCK_MS, CLOCK_US, CLOCK -- CLOCK: CLOCK_MS as it is written
local function clock(given)
  given = tonumber(given) or 0
  if given > 0 then
    CLOCK_MS, CLOCK_US = given, given * 1000
  else
    local t = redis.call('TIME')
    CLOCK_US = tonumber(t[1]) * 1000000 + tonumber(t[2])
    CLOCK_MS = math.floor(CLOCK_US / 1000)
  end
  CLOCK = num(CLOCK_MS)
  return CLOCK_MS
end
-- A finish must pass on a full server: only a script's first write is checked, and this one frees.
local function may_exceed_memory() redis.call('ZREM', K.due, '-') end
-- Both are read once and written once a call.
local LAST_US, SEQ
local function read_last()
  local last = redis.call('HMGET', K.meta, 'clock', 'seq')
  LAST_US, SEQ = tonumber(last[1] or '0'), tonumber(last[2] or '0')
end
-- Time of change: unique, so that a cursor is a score, and a token of a fetch.
local function change_us()
  if not LAST_US then read_last() end
  if CLOCK_US <= LAST_US then CLOCK_US = LAST_US + 1 end
  LAST_US = CLOCK_US
  return num(CLOCK_US)
end
local function next_seq()
  if not LAST_US then read_last() end
  SEQ = SEQ + 1
  return SEQ
end
local function write_clock()
  if LAST_US then redis.call('HSET', K.meta, 'clock', num(LAST_US), 'seq', num(SEQ)) end
end
-- One idle worker of those that serve the queue looks again.
local WOKEN = {}
local function wake(queue)
  if not WOKEN[queue] then redis.call('ZADD', K.wake..queue, 0, '0') end
  WOKEN[queue] = true
end
