--[[
data: a result or a piece of Huey's own data, by key.

Called by  storage.read_value
ARGV 1     verb     peek, pop or has
ARGV 2     key      a job's id or Huey's key
Returns    the bytes, or nothing; for has 1 or 0
Touches    pop hides a job's result and deletes Huey's data
Cost       O(1)
]]
--@include lib/move
local verb, key = ARGV[1], ARGV[2]
for _, name in ipairs({K.value..key, K.result..key}) do
  local value = redis.call('GET', name)
  if value then
    if verb == 'has' then return 1 end
    if verb == 'pop' then redis.call('DEL', name) end
    return value
  end
end
local flag = redis.call('GETRANGE', K.final..key, 0, 0)
if flag ~= '1' then return verb == 'has' and 0 or false end
if verb == 'has' then return 1 end
local job = final(key)
if verb == 'pop' then
  redis.call('SETRANGE', K.final..key, 0, '0')
  hide_result(job)
end
return kept_result(job)
