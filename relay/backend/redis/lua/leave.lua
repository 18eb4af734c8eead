-- Remove a member, or hold it for a time.
-- Cost: O(1).
--
-- KEYS: 1 to 6 see shared.lua; 7 delivered positions (see note.lua), if the member may have one.
-- ARGV: 1 Redis channel, 2 peer id, 3 the worker's present and earlier leases, with spaces between, 4 generation (0:
-- unknown), 5 current fingerprint, which identifies an entry of unknown generation, 6 length of the hold (ms, 0: remove the
-- member), 7 state TTL (ms), 8 history, 9 and 10 newest id the worker has seen, 11 stamp of the attempt, which identifies
-- the entry instead of the fingerprint, as attempts that offer the same key get the same next one ("": none), 12 era of the
-- run of Redis (us, 0 if unknown), 13 time after its beginning in which an unconfirmed state is left alone (ms), 14 "1" if
-- the member was connected until now: an entry that is gone was lost, and the other members do not know that it is.
-- Returns 1, 0 if the entry is gone, or is not of these leases and this generation any more, or 2 if the state was left
-- alone.
local peer, generation, era, hold = ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[12]), tonumber(ARGV[6])
local entry = read_entry(peer)
local lost = not entry and ARGV[14] == '1' and generation > 0 and call('EXISTS', KEYS[1]) == 1
if not entry and not lost then return 0 end
if entry and not string.find(' ' .. ARGV[3] .. ' ', ' ' .. entry.lease .. ' ', 1, true) then return 0 end
if generation > 0 and entry and entry.generation ~= generation then return 0 end
if generation == 0 and ARGV[11] ~= '' and string.gsub(entry.attempt, '!$', '') ~= ARGV[11] then return 0 end
if generation == 0 and ARGV[11] == '' and entry.current ~= ARGV[5] then return 0 end

if hold > 0 and entry then
  entry.held = now_ms() + hold
  write_entry(peer, entry)
else
  local waits = era > 0 and now_us() < era + tonumber(ARGV[13]) * 1000
  local state = state_of(tonumber(ARGV[9]), tonumber(ARGV[10]), era, waits)
  if not state then return 2 end
  raise_version(state)
  local id = next_quiet_id(state, true)
  local text = 'l ' .. id .. ' ' .. peer
  append(id, text, ARGV[8])
  call('HDEL', KEYS[2], peer)
  -- Does not fail: a key of another type must not keep the leave from being published.
  if KEYS[7] then redis.pcall('HDEL', KEYS[7], peer) end
  save(state, ARGV[7])
  call('PUBLISH', ARGV[1], text)
end
return lost and 0 or 1
