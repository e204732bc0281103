--[[
roll: keep the sums of a span that is over, and the totals up to its end; once, whoever is first.

Called by  buckets.roll
ARGV 1     now_ms   not used: a roll-up depends on no clock of its own
ARGV 2     level    tens (ten minutes) or hour
ARGV 3     before   the span that was rolled last, or "": a step that another made changes nothing
ARGV 4     span     its number since 1970
ARGV 5     kept_s   how long it is kept
ARGV 6     sums     packed, opaque; empty where nothing happened
ARGV 7     totals   packed, opaque; empty: they stay
Returns    1 when done here, 0 when another worker made this step
Touches    rolled, one packed span, totals
Cost       O(1)
]]
if (redis.call('HGET', K.rolled, ARGV[2]) or '') ~= ARGV[3] then return 0 end
if ARGV[6] ~= '' then redis.call('SET', K[ARGV[2]]..ARGV[4], ARGV[6], 'EX', ARGV[5]) end
if ARGV[7] ~= '' then redis.call('SET', K.totals, ARGV[7]) end
redis.call('HSET', K.rolled, ARGV[2], ARGV[4])
return 1
