--[[
finish_and_fetch: close what a process finished, and hand it the next jobs.

Called by  storage.finish_and_fetch
ARGV 1     now_ms   Unix time in milliseconds; 0 = Redis's clock
ARGV 2     JSON     {proc, queues [names], done [what lib/commit takes], plain (what lib/plain takes, or
                    absent), plan {want (0 to 64), most, left, each, pace: see lib/take} or absent to take
                    none, lent [queues of jobs held here], hop (due jobs wait for the scheduler)}
ARGV 3..   texts    id, token, final line and run of each of `plain`, then the opaque bytes that `done`
                    names by position, the first is 1
Returns    {now_ms, next due ms or "", {status of each done: ok, fired (and its chord is complete), gone, or
           already (it counted when it was sent before)}, {line, envelope, ...}, {which of `lent` shut},
           {positions of those revoked}, {{position, {chord members}}, ...}}; after the statuses of `done`
           stand those of `plain` where these were closed one by one, else no word of them. A line is
           joined by tabs: id, token, 1 to start or 0 to hold, queue, task, "attempts used, allowed, run,
           deaths" with spaces; of a job that its worker may end by `plain` also ready since, created, nonce, priority,
           argument indexes, by, tags
Touches    jobs whose token matches; waiting jobs of the queues named
Cost       O((done + want) * queues * log m)
]]
--@include lib/commit
may_exceed_memory()
clock(ARGV[1])
local ask = cjson.decode(ARGV[2])
return answered(ask, close(ask), fetch(ask))
