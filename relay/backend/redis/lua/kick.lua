-- Put a member out of a room, and ban its client.
-- Cost: O(bans), of which there are at most 100; if the owner is put out, O(members), of which about 500 are looked at.
--
-- KEYS: 1 to 6 see shared.lua; 7 places, see places.lua; 8 the list of large messages (see publish_slow.lua), 9 the mark of a
-- watched room, 10 subjects (see join.lua), 11 delivered positions (see note.lua), 12 changes that members have prepared
-- for the end of their connections (see tree.lua), which are forgotten; the outbox, if there is a webhook (see outbox.lua).
-- ARGV: 1 Redis channel, 2 peer id, 3 reason, as JSON, 4 for how long a worker that misses the kick must not write the entry
-- again (ms), 5 length of the ban (ms, 0 for none), 6 subject to ban ("": that of the member), 7 state TTL (ms), 8 history,
-- 9 and 10 the same of a room whose last member leaves, 11 TTL of the rules of such a room (ms), 12 era of the run of Redis
-- (us, 0 if unknown), 13 time after its beginning in which an unconfirmed state is left alone (ms), 14 for outbox.lua, with
-- the reason.
-- Returns 1, 0 if there is no such member (a ban is recorded all the same), or -1 if the state was left alone.
local peer, ban, about = ARGV[2], tonumber(ARGV[5]), about_rules()
local entry, rules, bans = read_entry(peer), read_rules() or {}, {}
if not entry and ban == 0 then return 0 end
local subject = ARGV[6] ~= '' and ARGV[6] or redis.pcall('HGET', KEYS[10], peer)
local now = now_ms()
if entry then bans[1] = { 'k', peer, entry.generation, now + tonumber(ARGV[4]) } end
if ban > 0 then
  bans[#bans + 1] = { 'p', peer, 0, now + ban }
  if type(subject) == 'string' then bans[#bans + 1] = { 's', subject, 0, now + ban } end
end

local state, texts = nil, {}
if call('EXISTS', KEYS[1]) == 1 then
  local era = tonumber(ARGV[12])
  state = state_of(0, 0, era, era > 0 and now_us() < era + tonumber(ARGV[13]) * 1000)
  if not state then return -1 end
end
about.add_bans(rules, bans)
about.raise_version(rules)
write_at_any_rate()
if not entry or not state then
  if call('HLEN', KEYS[2]) > 0 then about.write(rules, ARGV[7]) else about.write_idle(rules, ARGV[11], ARGV[9]) end
end
if not state then return 0 end
local function add(text_of, ...)
  local id = next_quiet_id(state, false)
  texts[#texts + 1] = { id, text_of(id, ...) }
end
-- Workers keep the bans with the rules.
add(about.told, '', rules)
if not entry then
  append(texts[1][1], texts[1][2], history_of(rules, ARGV[8]))
  save(state, ARGV[7])
  call('PUBLISH', ARGV[1], texts[1][2])
  return 0
end
raise_version(state)
add(about.notice, 'kicked', '-', peer .. ' ' .. integer(entry.generation) .. ' ' .. ARGV[3])
remove_member(state, peer, entry, rules, texts, ARGV[7], ARGV[8], ARGV[9], ARGV[10], ARGV[11], ARGV[14])
return 1
