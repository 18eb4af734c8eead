-- ARGV: 1 channel, 2 peer, 3 lease, 4 offered fingerprint, 5 fresh fingerprint, 6 most members, 7 presence TTL (ms),
-- 8 sequence TTL (ms), 9 length of the member list wanted, 0 for none.
-- Returns {'joined'|'resumed', generation, id, roster or ''}, {'taken'} or {'full'}.
local peer, lease, offered, fresh = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local before = entry_of(peer)
if before and not (offered ~= '-' and (offered == before.current or offered == before.previous)) then
  return { 'taken' }
end
if not before and redis.call('HLEN', KEYS[2]) >= tonumber(ARGV[6]) then return { 'full' } end

local ttl = ARGV[8]
local last = tonumber(redis.call('HGET', KEYS[1], 'g') or 0)
local generation = math.max(last + 1, now_us(), before and before.generation + 1 or 0)
write_entry(peer, {
  generation = generation, lease = lease, held = 0, current = fresh, previous = before and offered or '-' })
redis.call('PEXPIRE', KEYS[2], ARGV[7])

local id
if before then
  id = current_id(ttl)
  redis.call('PUBLISH', ARGV[1], 't ' .. number(generation) .. ' ' .. peer)
else
  id = next_id(ttl)
  redis.call('PUBLISH', ARGV[1], 'j ' .. id .. ' ' .. peer)
end
redis.call('HSET', KEYS[1], 'g', number(generation))
redis.call('PEXPIRE', KEYS[1], ttl)
local list = tonumber(ARGV[9]) > 0 and roster(tonumber(ARGV[9])) or ''
return { before and 'resumed' or 'joined', number(generation), id, list }
