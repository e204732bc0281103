--[[
sets: the zsets of jobs change in memory and are written when the script ends (lib/counts), one
command for each set and not for each job. Whoever reads one in the same script does so by `read_set`.
]]
local SETS, CHANGED = {}, {}
local SET_AT_ONCE = 1000
local function put(key, score, id)
  local set = SETS[key]
  if not set then
    set = {}
    SETS[key], CHANGED[key] = set, true
  end
  set[id] = score
end
local function drop(key, id) put(key, false, id) end
local function in_parts(command, key, args)
  for n = 1, #args, SET_AT_ONCE do
    redis.call(command, key, unpack(args, n, math.min(#args, n + SET_AT_ONCE - 1)))
  end
end
local function write_sets()
  if not next(SETS) then return end
  for key, set in pairs(SETS) do
    local gone, there, n, m = {}, {}, 0, 0
    for id, score in pairs(set) do
      if score then
        there[m + 1], there[m + 2] = score, id
        m = m + 2
      else
        n = n + 1
        gone[n] = id
      end
    end
    if n > 0 then in_parts('ZREM', key, gone) end
    if m > 0 then in_parts('ZADD', key, there) end
  end
  SETS = {}
end
local function read_set(command, key, ...)
  write_sets()
  return redis.call(command, key, ...)
end
