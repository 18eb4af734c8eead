-- Renew a worker's lease, and look for leases that have run out.
-- Cost: O(log(workers)); at most 100 leases are returned.
--
-- KEYS: 1 the leases: a sorted set, lease -> deadline in Redis's own time (ms). The deadline of a lease that its worker
-- renews is a whole number. A worker that stops sets its deadline to a time in the past with half a millisecond in it. A
-- quarter of a millisecond marks a lease that was lost: its worker ends it with the next heartbeat.
-- ARGV: 1 own lease, 2 its duration (ms), 3 TTL of the set (ms), 4 the deadline that the last heartbeat wrote (0: the lease
-- begins), 5 how long a lease that ends here stays before other workers may take its members over (ms).
-- The script works although Redis's memory is used up: without leases, no worker would be of use.
-- Returns {0 if the lease was renewed, or the reason why it ended: 1 it had lapsed, 2 Redis had lost it, 3 Redis has an older
-- deadline than the last heartbeat wrote, {dead lease, its deadline, …}, Redis's time (ms), 1 if Redis's memory is used up,
-- else 0}. A lease that has ended is not renewed: its worker must begin another one, and other workers take over the members
-- that are left under it.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local known = tonumber(ARGV[4])
local deadline = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or nil)
local ended = 0
if known == 0 then
  if deadline and deadline < now then ended = 1 end
elseif not deadline then
  -- Other workers forget a lease when its members are taken over, but only after its deadline.
  ended = known < now and 1 or 2
elseif deadline < known then
  ended = 3
elseif deadline < now then
  ended = 1
elseif deadline % 1 == 0.25 then
  ended = 2
end
local used_up = 0
local function write(score)
  local added = redis.pcall('ZADD', KEYS[1], score, ARGV[1])
  if type(added) ~= 'table' then return end
  if string.find(added.err, 'OOM', 1, true) then
    used_up = 1
    -- Redis accepts any write after one that takes no memory; see shared.lua. This one does nothing.
    redis.call('ZREM', KEYS[1], '')
  end
  redis.call('ZADD', KEYS[1], score, ARGV[1])
end

if ended == 0 then
  write(now + tonumber(ARGV[2]))
elseif ended > 1 then
  -- Members may be left under it: those that are held, and those that its worker does not have.
  write(string.format('%.2f', now + tonumber(ARGV[5]) + 0.25))
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return { ended, redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. now, 'WITHSCORES', 'LIMIT', 0, 100), now, used_up }
