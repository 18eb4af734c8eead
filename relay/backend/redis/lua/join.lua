-- Make a client a member, or give an existing membership to its new connection.
-- Cost: O(members that the roster names); O(members) for a client that offers its previous key again, see is_first.
--
-- KEYS: see shared.lua.
-- ARGV: 1 Redis channel, 2 peer id, 3 lease, 4 offered and 5 fresh fingerprint ("-" for none), 6 most members of the room,
-- 7 presence TTL, 8 state TTL (ms), 9 most members that the roster names (0: no roster), 10 most bytes of the roster,
-- 11 history, 12 and 13 newest id the worker has seen, 14 info ("": a membership that exists keeps its own), 15 time at which
-- the worker gives up (ms).
-- Returns {'joined' or 'resumed', generation, id, roster or '', id with which the membership began, 1 if this client is the
-- first, else 0, info}, {'taken'}, {'full'} or {'late'}.
if expired(ARGV[15]) then return { 'late' } end
local peer, offered = ARGV[2], ARGV[4]
local before = read_entry(peer)
if before and not (offered ~= '-' and (offered == before.current or offered == before.previous)) then
  return { 'taken' }
end
if not before and call('HLEN', KEYS[2]) >= tonumber(ARGV[6]) then return { 'full' } end

local state = state_of(tonumber(ARGV[12]), tonumber(ARGV[13]))
raise_version(state)
if before then state.version = math.max(state.version, before.generation + 1) end
local generation, id = state.version, next_id(state)
local began = before and before.began or id
local text = before and 't ' .. id .. ' ' .. peer .. ' ' .. integer(generation) or 'j ' .. id .. ' ' .. peer
append(id, text, ARGV[11])
local known = before and before.info or ''
local info = ARGV[14] ~= '' and ARGV[14] or known
local change
if info ~= known then
  id = next_id(state)
  change = changed(id, peer, info)
  append(id, change, ARGV[11])
end
write_entry(peer, { generation = generation, lease = ARGV[3], held = 0, current = ARGV[5], previous = offered,
  info = info, began = began })
call('PEXPIRE', KEYS[2], ARGV[7])
save(state, ARGV[8])
call('PUBLISH', ARGV[1], text)
if change then call('PUBLISH', ARGV[1], change) end
local list = tonumber(ARGV[9]) > 0 and roster(tonumber(ARGV[9]), tonumber(ARGV[10])) or ''

local function parse_id(text)
  local epoch, seq = string.match(text, '^(%d+)-(%d+)$')
  return tonumber(epoch), tonumber(seq)
end

-- Whether the room has no other member. A client that offers its previous key again did not receive the reply to its last
-- attempt: it gets the same answer again, which is found by looking for an earlier membership.
local function is_first()
  if call('HLEN', KEYS[2]) == 1 then return 1 end
  if not before or offered ~= before.previous then return 0 end
  local epoch, seq = parse_id(began)
  for _, text in ipairs(call('HVALS', KEYS[2])) do
    local other_epoch, other_seq = parse_id(string.match(text, '(%S+)$'))
    if other_epoch < epoch or (other_epoch == epoch and other_seq < seq) then return 0 end
  end
  return 1
end

return { before and 'resumed' or 'joined', integer(generation), id, list, began, is_first(), info }
