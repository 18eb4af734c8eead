-- Remove events from the outbox of a room, as they are in the queue.
-- Cost: O(events that are removed), of which there are at most 100.
--
-- KEYS: 1 outbox, see outbox.lua. ARGV: 1 number of the oldest entries, 2 and 3 the first and the last of them.
-- Returns 1, or 0 if the outbox begins with other entries: another worker has moved the same ones, and removed them.
local call, pcall = redis.call, redis.pcall
if pcall('LINDEX', KEYS[1], 0) ~= ARGV[2] or call('LINDEX', KEYS[1], ARGV[1] - 1) ~= ARGV[3] then return 0 end
call('LTRIM', KEYS[1], ARGV[1], -1)
return 1
