--[[
lock: take, free, renew or look at a lock that is tied to the lease of the process that holds it.

Called by  locks.JobLock
ARGV 1     now_ms   Unix time in milliseconds; 0 = Redis's clock
ARGV 2     verb     take, free, renew or look
ARGV 3     key      Huey's name of the lock
ARGV 4     owner    a token of the one who takes it
ARGV 5     proc     the process whose lease carries it; empty: renewed by the holder itself
ARGV 6     ttl_ms   it ends by then in any case; 0 = only with its holder
Returns    take, free, renew: 1 done, 0 not; look: 1 held, 0 free
Touches    v:<lock> = proc, newline, owner
Cost       O(1)
]]
--@include lib/clock
if ARGV[2] ~= 'take' then may_exceed_memory() end
clock(ARGV[1])
local key, mine = K.value..ARGV[3], ARGV[5]..'\n'..ARGV[4]
local ttl, now = tonumber(ARGV[6]), redis.call('GET', key)
local function held()
  if not now then return false end
  local proc = string.match(now, '^(.-)\n')
  if not proc or proc == '' then return true end -- its own expiry ends it
  return tonumber(redis.call('ZSCORE', K.procs, proc) or '0') >= CLOCK_MS
end
if ARGV[2] == 'look' then return held() and 1 or 0 end
if ARGV[2] == 'take' then
  if held() and now ~= mine then return 0 end
  redis.call('SET', key, mine)
  if ttl > 0 then redis.call('PEXPIRE', key, ttl) end
  return 1
end
if now ~= mine then return 0 end
if ARGV[2] == 'free' then return redis.call('DEL', key) end
return redis.call('PEXPIRE', key, ttl)
