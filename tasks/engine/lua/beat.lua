--[[
beat: renew a process's lease, reconcile what Redis believes with what it runs, bring back wishes.

Called by  leases.beat
ARGV 1     now_ms   Unix time in milliseconds; 0 = Redis's clock
ARGV 2     JSON     {proc, ttl_ms, unsure_ms, expected_ms (this clock when it was written, as far as is known),
                    late_ms, info {host, pid, ...}, running {id: token}, begun {id: ms} of those that
                    were held and have started since}
Returns    {now_ms, wish, {ids asked to cancel}, {ids lost: run here but not ours},
           schema of the jobs in Redis or ""}
Touches    the process's record; jobs handed out whose reply never reached it -> waiting
Cost       O(jobs held)
]]
--@include lib/commit
may_exceed_memory()
clock(ARGV[1])
local ask = cjson.decode(ARGV[2])
redis.call('ZREM', K.suspects, ask.proc)
redis.call('ZADD', K.procs, num(CLOCK_MS + ask.ttl_ms), ask.proc)
local fields = {'seen', CLOCK}
for name, value in pairs(ask.info) do
  fields[#fields + 1] = name
  fields[#fields + 1] = tostring(value)
end
redis.call('HSET', K.proc..ask.proc, unpack(fields))
redis.call('HSETNX', K.proc..ask.proc, 'started', CLOCK)
local cancels, lost, held = {}, {}, redis.call('HGETALL', K.held..ask.proc)
local ours = {}
local function begin(id, job)
  local begun = ask.begun[id]
  if not begun or job.b then return end
  redis.call('HSET', K.job..id, 'b', num(begun))
end
-- A process that stood still since it wrote this may run by now what it did not know of then.
local fresh = math.abs(CLOCK_MS - ask.expected_ms) <= ask.late_ms
for i = 1, #held, 2 do
  local id, token = held[i], held[i + 1]
  local job = live(id)
  ours[id] = token
  if not job or job.T ~= token then
    redis.call('HDEL', K.held..ask.proc, id)
  elseif ask.running[id] then
    begin(id, job)
    if job.cr then cancels[#cancels + 1] = id end
  elseif fresh and math.abs(CLOCK_MS - tonumber(job.b or job.h)) > ask.unsure_ms then
    -- Handed out, but the reply was lost: back to waiting, no attempt burnt.
    redis.call('HDEL', K.held..ask.proc, id)
    give_back(id, job)
  end
end
for id, token in pairs(ask.running) do
  if ours[id] ~= token then lost[#lost + 1] = id end
end
return {CLOCK, redis.call('HGET', K.proc..ask.proc, 'wish') or '', cancels, lost,
  redis.call('HGET', K.meta, 'schema') or ''}
