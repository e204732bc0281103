--[[
add: store jobs as waiting or scheduled, honouring ids and unique keys.

Called by  storage.add
ARGV 1     now_ms   Unix time in milliseconds; 0 = Redis's clock
ARGV 2     specs    JSON array of what lib/insert takes, at most 250
ARGV 3..   envelopes, opaque bytes, one for each spec
Returns    {{status, id}, ...} in the order given
Touches    only new ids; a known live id is answered, not changed; the batch that they are added to
Cost       O(n log m): n jobs, m jobs in the state
]]
--@include lib/insert
clock(ARGV[1])
local answers, specs, batches = {}, cjson.decode(ARGV[2]), {}
look_for(specs)
for n, spec in ipairs(specs) do
  answers[n] = insert(spec, ARGV[n + 2])
  if spec.bt then batches[spec.bt] = true end
end
for batch in pairs(batches) do hear_batch(batch) end
return answers
