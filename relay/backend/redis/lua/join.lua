-- Make a client a member, or give an existing membership to its new connection.
-- Cost: O(members that the roster names).
--
-- KEYS: see shared.lua.
-- ARGV: 1 Redis channel, 2 peer id, 3 lease, 4 offered fingerprint and 5 that of the next key for a new membership ("-" for
-- none), 6 most members of the room, 7 presence TTL, 8 state TTL (ms), 9 most members that the roster names (0: no roster),
-- 10 most bytes of the roster, 11 history, 12 and 13 newest id the worker has seen, 14 info ("": a membership that exists
-- keeps its own), 15 time at which the worker gives up (ms), 16 stamp of the attempt ("" if unknown), 17 "1" if a newer
-- attempt takes the entry from a connected member, 18 fingerprint of the next key for a membership that exists, 19 era of
-- the run of Redis (us, 0 if unknown), 20 time after its beginning in which an unconfirmed state is left alone (ms), 21 and
-- 22 newest id that the client has seen, as it says.
-- Returns {'joined' or 'resumed', generation, id, roster or '', id with which the membership began, 1 if this client is the
-- first, else 0, info}, {'taken', 1 if the member is held, else 0}, {'full'}, {'late'}, {'unconfirmed'} if the state was left
-- alone, {'superseded'} if a newer attempt has the entry, or {'contested', 1 if this one is newer, else 0}: the entry is that
-- of another attempt of the same client, whose connection is open as far as is known.
if expired(ARGV[15]) then return { 'late' } end
local peer, offered, before = ARGV[2], ARGV[4], read_entry(ARGV[2])

-- How this attempt stands to the one that has the entry: 'newer', 'older' or 'unclear'. relay/backend/stamps.py has the
-- same rules, and says why.
local function order()
  local function read_stamp(text)
    local earliest, width = string.match(text, '^@(%d+)%+(%d+)')
    if earliest then return tonumber(earliest), tonumber(earliest) + tonumber(width) end
  end
  local from, to = read_stamp(ARGV[16])
  local other_from, other_to = read_stamp(before.attempt)
  local now = now_us()
  if not from or not other_from or other_from > now then return 'newer' end
  if from > now then from = 0 end
  if before.lease == ARGV[3] then return from >= other_from and 'newer' or 'older' end
  if from > other_to then return 'newer' end
  return to < other_from and 'older' or 'unclear'
end

local repeated = false
if before and (offered == '-' or offered ~= before.current) then
  repeated = offered ~= '-' and offered == before.previous
  if not repeated then return { 'taken', before.held > 0 and 1 or 0 } end
  local its = order()
  if its == 'older' then return { 'superseded' } end
  if before.held == 0 and not (its == 'newer' and ARGV[17] == '1') then
    return { 'contested', its == 'newer' and 1 or 0 }
  end
end
local count = call('HLEN', KEYS[2])
if not before and count >= tonumber(ARGV[6]) then return { 'full' } end

-- A client that was a member before the present run of Redis began has proved that by its key, once, as the generation
-- rises. No room has an epoch in the future.
local era, claim_epoch, claim_seq = tonumber(ARGV[19]), 0, 0
if before and before.generation < era then
  claim_epoch, claim_seq = tonumber(ARGV[21]), tonumber(ARGV[22])
  if claim_epoch > now_ms() then claim_epoch, claim_seq = 0, 0 end
end
-- A worker that knows the room may be connecting again; in a room without members, there is no such worker.
local waits = era > 0 and count > 0 and now_us() < era + tonumber(ARGV[20]) * 1000
local state = state_of(tonumber(ARGV[12]), tonumber(ARGV[13]), era, waits, claim_epoch, claim_seq)
if not state then return { 'unconfirmed' } end
raise_version(state)
if before then state.version = math.max(state.version, before.generation + 1) end
local generation, id = state.version, next_quiet_id(state, not before)
local began = before and before.began or id
-- A plus sign marks a repeated key. Workers of an earlier version read it as a part of the number.
local sign = repeated and '+' or ''
local text = before and 't ' .. id .. ' ' .. peer .. ' ' .. sign .. integer(generation) or 'j ' .. id .. ' ' .. peer
append(id, text, ARGV[11])
-- A client that offers its previous key again did not receive the reply to its last attempt: it gets the same answer.
local first = count == (before and 1 or 0) or (repeated and string.sub(before.attempt, -1) == '!')
local known = before and before.info or ''
local info = ARGV[14] ~= '' and ARGV[14] or known
local change
if info ~= known then
  id = next_quiet_id(state, true)
  change = changed(id, peer, info)
  append(id, change, ARGV[11])
end
write_entry(peer, { generation = generation, lease = ARGV[3], held = 0, current = before and ARGV[18] or ARGV[5],
  previous = offered, attempt = offered ~= '-' and ARGV[16] ~= '' and ARGV[16] .. (first and '!' or '') or '',
  info = info, began = began })
call('PEXPIRE', KEYS[2], ARGV[7])
save(state, ARGV[8])
call('PUBLISH', ARGV[1], text)
if change then call('PUBLISH', ARGV[1], change) end
local list = tonumber(ARGV[9]) > 0 and roster(tonumber(ARGV[9]), tonumber(ARGV[10])) or ''

return { before and 'resumed' or 'joined', integer(generation), id, list, began, first and 1 or 0, info }
