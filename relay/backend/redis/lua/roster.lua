-- Read the members of a room; writes nothing.
-- Cost: O(members that are named), and those of one page; reads no more than so many bytes, and those of the page.
--
-- KEYS: see shared.lua. ARGV: 1 most members that are named, 2 most bytes of their names and infos.
-- Returns {newest id or '', {number of members, {peer, held-until, info, …}}}.
local state = call('EXISTS', KEYS[1]) == 1 and state_of(0, 0)
return { state and id_of(state) or '', roster(tonumber(ARGV[1]), tonumber(ARGV[2])) }
