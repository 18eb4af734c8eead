-- Renew a lease. KEYS: 1 the leases, by deadline. ARGV: 1 lease, 2 its length (ms), 3 TTL of the whole (ms), 4 1 for a new one.
-- Returns {1 if the lease had lapsed, {dead lease, its deadline, …}, Redis's time (ms)}.
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
