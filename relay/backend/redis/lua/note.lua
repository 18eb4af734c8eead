-- Note the delivered positions of members.
-- Cost: O(positions), of which one call has at most 200.
--
-- KEYS: 1 presence, see shared.lua; 2 positions of the same room: a hash, peer id -> id up to which the member has got
-- everything.
-- ARGV: 1 TTL (ms), then for each position: peer id, generation, id.
-- Returns how many were noted. A position is left out if the member's entry is gone, or has another generation.
local noted = {}
for i = 2, #ARGV, 3 do
  local entry = redis.call('HGET', KEYS[1], ARGV[i])
  if entry and string.match(entry, '^%S+') == ARGV[i + 1] then
    noted[#noted + 1] = ARGV[i]
    noted[#noted + 1] = ARGV[i + 2]
  end
end
if #noted > 0 then
  -- So that Redis accepts the next command also when its memory is used up; see shared.lua.
  redis.call('HDEL', KEYS[2], '')
  redis.call('HSET', KEYS[2], unpack(noted))
  redis.call('PEXPIRE', KEYS[2], ARGV[1])
end
return #noted / 2
