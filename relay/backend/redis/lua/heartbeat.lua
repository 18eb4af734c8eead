-- Renew a worker's lease, and look for those that have run out.
-- Cost: O(log(workers)); at most 100 leases are returned.
--
-- KEYS: 1 the leases: a sorted set, lease -> deadline in Redis's own time (ms). A worker that stops sets its deadline to a
-- time in the past with half a millisecond in it; the deadlines of all others are whole numbers.
-- ARGV: 1 own lease, 2 its duration (ms), 3 TTL of the set (ms), 4 "1" for a lease that begins.
-- Returns {1 if the own lease had lapsed, else 0, {dead lease, its deadline, …}, Redis's time (ms)}. A lease that has lapsed
-- is not renewed: other workers may be taking its members over, so its worker must begin another one.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local deadline = redis.call('ZSCORE', KEYS[1], ARGV[1])
local lapsed = 0
if ARGV[4] ~= '1' and (not deadline or tonumber(deadline) < now) then
  lapsed = 1
else
  redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), ARGV[1])
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return { lapsed, redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. now, 'WITHSCORES', 'LIMIT', 0, 100), now }
