-- Remove a member, or hold it for a time.
-- Cost: O(1).
--
-- KEYS: 1 to 6 see shared.lua; 7 places, see places.lua; 8 the list of large messages (see publish_slow.lua), 9 the mark of a
-- watched room, 10… hashes with a field for each member, of those that this one may be in: delivered positions (see
-- note.lua), subjects (see join.lua); the outbox, if there is a webhook (see outbox.lua).
-- ARGV: 1 Redis channel, 2 peer id, 3 the worker's present and earlier leases, with spaces between, 4 generation (0:
-- unknown), 5 current fingerprint, which identifies an entry of unknown generation, 6 length of the hold (ms, 0: remove the
-- member), 7 state TTL (ms), 8 history, 9 and 10 newest id the worker has seen, 11 stamp of the attempt, which identifies
-- the entry instead of the fingerprint, as attempts that offer the same key get the same next one ("": none), 12 era of the
-- run of Redis (us, 0 if unknown), 13 time after its beginning in which an unconfirmed state is left alone (ms), 14 "1" if
-- the member was connected until now: an entry that is gone was lost, and the other members do not know that it is, 15 state
-- TTL (ms) and 16 history of a room whose last member leaves, 17 TTL of the rules of such a room (ms),
-- 18 for outbox.lua, with the reason, 19 stamp of the attempt that has the membership ("" if unknown), 20 id with which the
-- membership began.
-- Returns 1, 0 if the entry is gone, or is not of these leases and this generation any more, 2 if the state was left
-- alone, or 3 if the entry is an earlier one of this membership, which must be announced to be held.
--
-- A server that became the master may lack the last connection of a client: then it has the entry of the one before, with a key
-- that the client does not have any more, and perhaps with the lease of another worker.
--
-- With the last member, the history ends soon: a client that comes later gets the messages from its own join on, and only
-- an observer's worker may still read the missed ones. The epoch and the counter stay somewhat longer, so that no id is given
-- again while the keys of messages are remembered. The rules stay for as long as they say. If the owner leaves, the eldest
-- member owns the room: then the cost is O(members), of which about 500 are looked at.
-- The script works although Redis's memory is used up, as it sets memory free.
local peer, generation, era, hold = ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[12]), tonumber(ARGV[6])
local entry = read_entry(peer)
local lost = not entry and ARGV[14] == '1' and generation > 0 and call('EXISTS', KEYS[1]) == 1
if not entry and not lost then return 0 end
local owned = entry and string.find(' ' .. ARGV[3] .. ' ', ' ' .. entry.lease .. ' ', 1, true)
local behind = entry and entry.generation < generation and entry.began == ARGV[20]
  and order(ARGV[19], owned and entry.lease or '', entry) == 'newer'
if behind and hold > 0 then return 3 end
if entry and not owned and not behind then return 0 end
if generation > 0 and entry and entry.generation ~= generation and not behind then return 0 end
if generation == 0 and ARGV[11] ~= '' and string.match(entry.attempt, '^[^#!]*') ~= ARGV[11] then return 0 end
if generation == 0 and ARGV[11] == '' and entry.current ~= ARGV[5] then return 0 end

if hold > 0 and entry then
  write_at_any_rate()
  entry.held = now_ms() + hold
  write_entry(peer, entry)
else
  local waits = era > 0 and now_us() < era + tonumber(ARGV[13]) * 1000
  local state = state_of(tonumber(ARGV[9]), tonumber(ARGV[10]), era, waits)
  if not state then return 2 end
  local rules = read_rules()
  raise_version(state)
  remove_member(state, peer, entry, rules, nil, ARGV[7], ARGV[8], ARGV[15], ARGV[16], ARGV[17], ARGV[18])
end
return lost and 0 or 1
