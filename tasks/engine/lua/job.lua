--[[
job: one job, whole, and what decides whether it may run now.

Called by  reads.job
ARGV 1     id
Returns    {} when it is not kept, else {figures (flat hash, empty when final), final text,
            envelope, attempts, progress, score of its state, rank among waiting or "",
            active in its queue, queue options (flat hash), now_ms,
            processes that live now, unread intermediate result, pauses (flat hash)}
Touches    nothing
Cost       O(attempts), at most 20
]]
--@include lib/move
clock('0')
local id = ARGV[1]
local job = live(id) or final(id)
if not job then return {} end
local q = job.q
return {redis.call('HGETALL', K.job..id), redis.call('GET', K.final..id) or '',
  redis.call('GET', K.envelope..id) or '', redis.call('LRANGE', K.attempts..id, -20, -1),
  redis.call('GET', K.progress..id) or '', redis.call('ZSCORE', K.state..q..':'..job.s, id) or '0',
  redis.call('ZRANK', K.waiting..q, id) or '', redis.call('ZCARD', K.state..q..':active'),
  redis.call('HGETALL', K.queue..q), CLOCK,
  redis.call('ZRANGEBYSCORE', K.procs, CLOCK, '+inf', 'LIMIT', 0, 1000),
  redis.call('GET', K.result..id) or '', redis.call('HGETALL', K.pauses)}
