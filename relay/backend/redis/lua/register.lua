-- Register a lease and rooms under it, as Registration.register does by plain commands, while Redis's memory is used up.
-- Cost: O(rooms that are given * log(rooms)), of which there are at most 500, and one for a join.
--
-- KEYS: 1 the leases (see heartbeat.lua), 2 the set of the lease's rooms, 3 the index of the same rooms.
-- ARGV: 1 deadline of a lease that is missing (ms), 2 lease, 3 TTL of the set (ms), 4… rooms.
-- Returns nothing: if this fails, the script that follows it fails as well.
--
-- Redis accepts any write after one that takes no memory; see shared.lua. This one does nothing.
redis.call('ZREM', KEYS[1], '')
redis.call('ZADD', KEYS[1], 'NX', ARGV[1], ARGV[2])
for i = 4, #ARGV do
  redis.call('ZADD', KEYS[3], 0, ARGV[i])
  redis.call('SADD', KEYS[2], ARGV[i])
end
redis.call('PEXPIRE', KEYS[2], ARGV[3])
redis.call('PEXPIRE', KEYS[3], ARGV[3])
