--[[
decide: what an operator decides about an error group: open, muted or resolved, and a note.

Called by  commands.mute_group, resolve_group, reopen_group, note_group
ARGV 1     now_ms   Unix time in milliseconds; 0 = Redis's clock
ARGV 2     group
ARGV 3     JSON     {st (new state, or "" to keep it), until (ms, "" for good), by, note (or absent)}
Returns    1, or 0 when there is no such group
Touches    the group's record
Cost       O(1)
]]
--@include lib/groups
may_exceed_memory()
clock(ARGV[1])
local key, ask = K.group..ARGV[2], cjson.decode(ARGV[3])
if redis.call('EXISTS', key) == 0 then return 0 end
if ask.st ~= '' then
  redis.call('HSET', key, 'st', ask.st, 'since', CLOCK, 'by', ask.by)
  redis.call('HDEL', key, 'away', 'until')
  if ask['until'] ~= '' then redis.call('HSET', key, 'until', ask['until']) end
end
if ask.note then redis.call('HSET', key, 'note', ask.note, 'noted', CLOCK, 'noter', ask.by) end
redis.call('PEXPIRE', key, GROUP_KEPT_MS)
redis.call('PEXPIRE', K.groups, GROUP_KEPT_MS)
return 1
