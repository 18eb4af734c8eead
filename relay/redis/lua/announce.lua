-- Write a place again as its worker remembers it.
-- ARGV: 1 channel, 2 peer, 3 lease, 4 generation, 5 current and 6 previous fingerprint, 7 presence TTL, 8 sequence TTL (ms).
-- Returns 1, or 0 when the place belongs to a newer generation.
local peer, generation, ttl = ARGV[2], tonumber(ARGV[4]), ARGV[8]
local before = entry_of(peer)
if before and before.generation > generation then return 0 end

write_entry(peer, { generation = generation, lease = ARGV[3], held = 0, current = ARGV[5], previous = ARGV[6] })
redis.call('PEXPIRE', KEYS[2], ARGV[7])
if not before then
  redis.call('PUBLISH', ARGV[1], 'j ' .. next_id(ttl) .. ' ' .. peer)
elseif before.generation < generation then
  redis.call('PUBLISH', ARGV[1], 't ' .. number(generation) .. ' ' .. peer)
end
local last = tonumber(redis.call('HGET', KEYS[1], 'g') or 0)
if generation > last then redis.call('HSET', KEYS[1], 'g', number(generation)) end
redis.call('PEXPIRE', KEYS[1], ttl)
return 1
