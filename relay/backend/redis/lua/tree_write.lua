-- Change the tree of a room, and publish the change, in one step.
-- Cost: O(leaves that are written, or taken away, or compared, or read), of which a tree has some thousands; for each O(log of the
-- leaves of the tree). Up to 64 leaves that are too old are taken out as well.
--
-- KEYS: 1 to 6 see shared.lua; 7 to 10 see tree.lua.
-- ARGV: 1 Redis channel, 2 sender, 3 its generation (0: it is no member, and proves nothing), 4 and 5 newest id that the worker has
-- seen, 6 state TTL (ms), 7 history, 8 limits, see tree.lua, 9 change, 10 "/" and the path of the part that is read afterwards
-- ("": none), and if something is expected, 11 a path and 12 the values that must be there now, as `contents` returns it.
-- Returns {'sent', id, version}, with a part {'sent', id, version, number of members, list of path, value, …}; or {'stale'},
-- {'full'}, {'unknown'} or {'replaced'}.
local sender, generation = ARGV[2], tonumber(ARGV[3])
if generation > 0 then
  local entry = read_entry(sender)
  if not entry or entry.generation < generation then return { 'unknown' } end
  if entry.generation > generation then return { 'replaced' } end
end
local limits, now = parse_limits(ARGV[8]), integer(now_ms())
if ARGV[12] and contents(ARGV[11], now_ms() - limits.age) ~= ARGV[12] then return { 'stale' } end
local change = plan(ARGV[9], now)
local state = state_of(tonumber(ARGV[4]), tonumber(ARGV[5]))
-- A change that takes more away than it brings works also when Redis has no memory left.
if change.bytes <= 0 then write_at_any_rate() end
local expired = expire(state, limits, sender, ARGV[7], now_ms())
if expired then change = plan(ARGV[9], now) end
local full = is_full(change, limits)
local id, text
if not full then id, text = make(state, change, sender, ARGV[1], ARGV[7], limits.ttl, now) end
if expired or not full then save(state, ARGV[6]) end
if expired then call('PUBLISH', ARGV[1], expired) end
if full then return { 'full' } end
call('PUBLISH', ARGV[1], text)
if ARGV[10] == '' then return { 'sent', id, integer(state.version) } end
return { 'sent', id, integer(state.version), call('HLEN', KEYS[2]), flat(string.sub(ARGV[10], 2), now_ms() - limits.age) }
