--[[
act: do one thing to up to 500 jobs, each by its id.

Called by  commands.act
ARGV 1     now_ms   Unix time in milliseconds; 0 = Redis's clock
ARGV 2     verb     a function of lib/act or lib/change
ARGV 3     JSON     what the verb takes: delay (ms), due (ms), why (no tabs or newlines), priority, queue,
                    tags, change {sha, ix, u}: new arguments of one job
ARGV 4     envelope with the new arguments, or empty; opaque bytes
ARGV 5..   job ids
Returns    {{done 1 or 0, state now or "", note}, ...}
Touches    retry: failed, cancelled, completed, retrying; cancel: live; run_now: scheduled, retrying; delete: final;
           discard: waiting; reschedule, move, priority: live, not active; patch: neither active nor completed;
           tag, untag: any
Cost       O(n log m): n ids, m jobs in the state
]]
--@include lib/act
may_exceed_memory()
clock(ARGV[1])
local options = cjson.decode(ARGV[3])
if ARGV[4] ~= '' then options.change.env = ARGV[4] end
local answers = {}
for n = 5, #ARGV do answers[n - 4] = act(ARGV[2], ARGV[n], options) end
return answers
