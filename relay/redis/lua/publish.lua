-- ARGV: 1 channel, 2 sender, 3 generation, 4 repeat key, 5 what follows the id on the wire, 6 sequence TTL (ms),
-- 7 and 8 the newest id the worker has seen, 9 most repeat keys, 10 their TTL (ms), 11… addressees.
-- Returns {'sent'|'repeat', id}, {'absent', peers}, {'unknown'} or {'replaced'}.
local sender, generation, key, ttl = ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[6]

if generation > 0 then
  local entry = redis.call('HGET', KEYS[2], sender)
  local held = entry and tonumber(string.match(entry, '^%S+')) or 0
  if held > generation then return { 'replaced' } end
  if held < generation then return { 'unknown' } end
end

local absent = {}
for i = 11, #ARGV do
  if redis.call('HEXISTS', KEYS[2], ARGV[i]) == 0 then absent[#absent + 1] = ARGV[i] end
end
if #absent > 0 then return { 'absent', absent } end

local epoch = epoch_of(ttl, tonumber(ARGV[7]), tonumber(ARGV[8]))
local mark = sender .. ' ' .. key
if key ~= '' then
  local before = redis.call('ZSCORE', KEYS[3], mark)
  if before then return { 'repeat', epoch .. '-' .. before } end
end

local seq = next_seq(ttl)
local id = epoch .. '-' .. seq
if key ~= '' then
  redis.call('ZADD', KEYS[3], seq, mark)
  redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -1 - tonumber(ARGV[9]))
  redis.call('PEXPIRE', KEYS[3], ARGV[10])
end
redis.call('PUBLISH', ARGV[1], 'm ' .. id .. ' ' .. ARGV[5] .. id .. '"')
return { 'sent', id }
