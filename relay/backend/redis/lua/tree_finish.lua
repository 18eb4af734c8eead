-- Make the changes that members have prepared for the end of their connections, and publish them.
-- Cost: O(members that are named) if there are no changes; each change costs as much as in tree_write.lua, and a member has
-- at most 32 of them with 16 KB.
--
-- KEYS: 1 to 6 see shared.lua; 7 to 10 see tree.lua.
-- ARGV: 1 Redis channel, 2 and 3 newest id that the worker has seen, 4 state TTL (ms), 5 history, 6 limits, 7… for each member: peer
-- id, generation (0: its entry is not looked at), "1" if its entry may have ended since (else ""), end of its rights and changes as
-- netstrings (both "": those that are recorded).
-- Returns how many changes were made. A member that has been put out of the room, or whose rights have ended, makes none.
local limits, now = parse_limits(ARGV[6]), integer(now_ms())
local state, texts = nil, {}
for i = 7, #ARGV, 5 do
  local peer, generation, left = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2] == '1'
  local until_ms, changes = ARGV[i + 3], ARGV[i + 4]
  if changes == '' then
    until_ms, changes = string.match(call('HGET', WRITES, peer) or '', '^(%d+) (.*)$')
  end
  local entry = changes and generation > 0 and read_entry(peer)
  local may = generation == 0 or (not entry and left) or (entry and entry.generation == generation)
  if changes and changes ~= '' and may and (until_ms == '0' or tonumber(until_ms) > now_ms()) then
    state = state or state_of(tonumber(ARGV[2]), tonumber(ARGV[3]))
    for text in netstrings(changes) do
      local change = plan(text, now)
      if not is_full(change, limits) then
        if change.bytes <= 0 then write_at_any_rate() end
        local _, made = make(state, change, peer, ARGV[1], ARGV[5], limits.ttl, now)
        texts[#texts + 1] = made
      end
    end
  end
  -- A newer membership has recorded changes of its own.
  if changes and (may or not entry) then call('HDEL', WRITES, peer) end
end
if state and #texts > 0 then save(state, ARGV[4]) end
for _, text in ipairs(texts) do call('PUBLISH', ARGV[1], text) end
return #texts
