-- Read how much memory Redis uses, and how much it may use.
-- Cost: O(1).
--
-- KEYS: 1 a key of the relay, which is not looked at; it says which node of a cluster is asked.
-- ARGV: none.
-- Returns {bytes that count towards the limit, limit (0: none)}, or {0, 0} if Redis does not tell.

-- A user without the right to INFO gets an error, and some servers do not allow it in scripts.
local text = redis.pcall('INFO', 'memory')
if type(text) ~= 'string' then return { 0, 0 } end
local function field(name) return tonumber(string.match(text, '\n' .. name .. ':(%d+)') or 0) end
-- The buffers of replicas and of the append-only file do not count.
return { field('used_memory') - field('mem_not_counted_for_evict'), field('maxmemory') }
