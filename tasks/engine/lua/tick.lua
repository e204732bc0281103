--[[
tick: claim one minute of a periodic task and add its job, in one step; or run it by hand.

Called by  periodic.fire, periodic.run
ARGV 1     now_ms   Unix time in milliseconds; 0 = Redis's clock
ARGV 2     JSON     {task, minute (Unix minutes; absent: by hand, now), missed [minutes that nobody
                    fired], spec (what lib/insert takes)}
ARGV 3     envelope opaque bytes
Returns    {1 when this call claimed the tick and added a job, else 0; the job's id, or that of the
           one that holds its unique key, or ""}
Touches    cron, the task's ticks, one new job
Cost       O(log m + missed)
]]
--@include lib/insert
clock(ARGV[1])
local ask = cjson.decode(ARGV[2])
local due = ask.minute and ask.minute * 60000 or CLOCK_MS
local function off()
  local text = redis.call('HGET', K.cron, ask.task..'|off')
  local until_ms = text and tonumber(string.match(text, '^(%d+)'))
  return text and (not until_ms or due < until_ms)
end
local last = tonumber(redis.call('HGET', K.cron, ask.task) or '-1')
if ask.minute and ask.minute <= last then return {0, ''} end
if ask.minute and off() then
  note_tick(ask.task, num(due), 'off')
  redis.call('HSET', K.cron, ask.task, num(ask.minute))
  return {0, ''}
end
-- Runs by hand within one millisecond stand beside each other.
while not ask.minute and redis.call('HEXISTS', K.ticks..ask.task, num(due)) == 1 do due = due + 1 end
ask.spec.pt = num(due)
local answer = insert(ask.spec, ARGV[3])
local added = answer[1] ~= 'held'
for _, minute in ipairs(ask.missed or {}) do
  if minute > last then note_tick(ask.task, num(minute * 60000), 'missed') end
end
if answer[1] ~= 'same' then note_tick(ask.task, num(due), added and 'fired' or 'held', answer[2]) end
if ask.minute then
  redis.call('HSET', K.cron, ask.task, num(ask.minute), ask.task..'|job', answer[2])
end
return {added and 1 or 0, answer[2]}
