-- Note that a message of a room has used a channel: by Redis's own time, so that the channels of all workers have one order.
-- Cost: O(log(channels)), of which there are at most as many as are remembered.
--
-- KEYS: 1 channels: a sorted set, hash of a channel -> time (ms).
-- ARGV: 1 hash of the channel, 2 most channels, 3 TTL (ms).
-- Returns nothing.
local time = redis.call('TIME')
redis.call('ZADD', KEYS[1], time[1] .. string.format('%03d', math.floor(tonumber(time[2]) / 1000)), ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - tonumber(ARGV[2]))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
