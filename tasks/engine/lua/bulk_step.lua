--[[
bulk_step: one chunk of an operation: act, count, keep each outcome and move the cursor, in one go.

Called by  stepping
ARGV 1     now_ms   Unix time in milliseconds; 0 = Redis's clock
ARGV 2     id       the operation
ARGV 3     before   the cursor this step starts from: a step that another made changes nothing
ARGV 4     after    the cursor afterwards
ARGV 5     last     1 when nothing is left after this chunk
ARGV 6     JSON     what the act takes, and: until (the query's last score: what changed later is skipped),
                    refused and failed {id: why}, changes {id: {sha, ix, u}}, tokens (what is left of the pace)
ARGV 7     n        how many ids, at most 200
ARGV 8..   job ids, then the envelopes of those in `changes`, in the order of the ids
Returns    {ids of what was done}, or 0 when the operation does not run or another made this step
Touches    the operation, and the jobs as lib/act
Cost       O(n log m): n ids, m jobs in the state
]]
--@include lib/act
may_exceed_memory()
clock(ARGV[1])
local OUTCOMES_KEPT, TOUCHED_KEPT, KEPT_S = 20000, 20, 2592000
local op, key = ARGV[2], K.op..ARGV[2]
local now = redis.call('HMGET', key, 'state', 'cursor', 'kind', 'matched', 'exact')
if now[1] ~= 'running' or (now[2] or '') ~= ARGV[3] then return 0 end
local kind, options, many = now[3], cjson.decode(ARGV[6]), tonumber(ARGV[7])
local refused, failures, changes = options.refused or {}, options.failed or {}, options.changes or {}
local runs = kind == 'retry' or kind == 'run_now'
local goes = kind == 'delete' or kind == 'discard'
local function changed_since(id)
  if not options['until'] then return nil end
  local now = redis.call('HMGET', K.job..id, 'q', 's', 'cu')
  local queue, state, changed = now[1], now[2], now[3]
  if not queue then
    local job = final(id)
    if not job then return nil end
    queue, state, changed = job.q, job.s, job.cu
  end
  local score = tonumber(read_set('ZSCORE', K.state..queue..':'..state, id) or '0')
  if score > options['until'] or tonumber(changed or '0') > options['until'] then
    return {0, state, 'changed since the query was frozen: the job is '..state}
  end
end
local function touch(id)
  redis.call('RPUSH', K.touched..id, op..'\t'..CLOCK..'\t'..kind)
  redis.call('LTRIM', K.touched..id, -TOUCHED_KEPT, -1)
  if not runs then return end
  local other = redis.call('HGET', K.job..id, 'op')
  if other and other ~= op and redis.call('EXISTS', K.op..other) == 1 then
    redis.call('HINCRBY', K.op..other, 'end:cancelled', 1)
  end
  redis.call('HSET', K.job..id, 'op', op)
end
local function keep(list, lines)
  if #lines == 0 then return end
  redis.call('RPUSH', list..op, unpack(lines))
  redis.call('LTRIM', list..op, -OUTCOMES_KEPT, -1)
  redis.call('EXPIRE', list..op, KEPT_S)
end
local counts, all, others, did, blob = {[0] = 0, 0, 0}, {}, {}, {}, 7 + many
for n = 8, 7 + many do
  local id, answer = ARGV[n], nil
  options.change = changes[id]
  if options.change then
    blob = blob + 1
    options.change.env = ARGV[blob]
  end
  if failures[id] then answer = {2, '', failures[id]} end
  answer = answer or changed_since(id)
  if not answer and refused[id] then answer = untouched(id, refused[id]) end
  answer = answer or act(kind, id, options)
  counts[answer[1]] = counts[answer[1]] + 1
  local line = table.concat({id, answer[1], answer[2], CLOCK, answer[3]}, '\t')
  all[#all + 1] = line
  if answer[1] == 1 then
    did[#did + 1] = id
    if not goes then touch(id) end
  else
    others[#others + 1] = line
  end
end
keep(K.op_outcomes, all)
keep(K.op_skipped, others)
redis.call('HSET', key, 'cursor', ARGV[4], 'tokens', options.tokens or 0, 'stepped', CLOCK)
local total = redis.call('HINCRBY', key, 'done', counts[1])
  + redis.call('HINCRBY', key, 'skipped', counts[0]) + redis.call('HINCRBY', key, 'failed', counts[2])
local matched = tonumber(now[4])
if total > matched or (ARGV[5] == '1' and now[5] ~= '1') then
  redis.call('HSET', key, 'matched', total)
end
if ARGV[5] == '1' then
  redis.call('HSET', key, 'state', 'done', 'exact', '1', 'finished', CLOCK,
    'changed', math.max(0, now[5] == '1' and matched - total or 0))
  redis.call('RPUSH', K.op_events..op, CLOCK..'\tdone')
  redis.call('EXPIRE', K.op_events..op, KEPT_S)
end
return did
