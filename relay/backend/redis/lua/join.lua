-- Make a client a member, or give an existing membership to its new connection.
-- Cost: O(members that the roster names), of which there are at most 100 by default, and at most a quarter of send-buffer of their
-- names and infos; else O(1).
--
-- KEYS: see shared.lua; 7 places, see places.lua; 8 waiting, see wait.lua; 9 the mark of a watched room; 10 subjects, if the
-- client has one: a hash, peer id -> fingerprint of the subject of its token; the outbox, if there is a webhook (see outbox.lua).
-- ARGV: 1 Redis channel, 2 peer id, 3 lease, 4 offered fingerprint and 5 that of the next key for a new membership ("-" for
-- none), 6 most members of the room, 7 presence TTL, 8 state TTL (ms), 9 most members that the roster names (0: no roster),
-- 10 most bytes of the roster, 11 history, 12 and 13 newest id the worker has seen, 14 info ("": a membership that exists
-- keeps its own), 15 time at which the worker gives up (ms), 16 stamp of the attempt ("" if unknown), 17 "1" if a newer
-- attempt takes the entry from a connected member (with a key that the client keeps, also one whose order is unclear), 18 fingerprint of the next key for a membership that exists, 19 era of
-- the run of Redis (us, 0 if unknown), 20 time after its beginning in which an unconfirmed state is left alone (ms), 21 and
-- 22 newest id that the client has seen, as it says, 23 tag of its address ("": not counted), 24 most places of an address,
-- 25 barred joins: "room" into a room that does not exist, "closed" into one without members that was not made either,
-- "member" of any new member, "" none. With "member", the script works although Redis's memory is used up. About rules:
-- 26 version that the worker has (us, 0 for none), 27 key derived from the password that the client offers, 28 subject ("" for none), 29 rules of a room
-- that the client opens ("" for none), 30 "1" if a room's first member owns it, 31 Redis channel of the workers that can
-- restore the rules of the room, 32 "1" soon after Redis has come back as another run. 33 for outbox.lua, with the subject as it is.
-- 34 "open" for a room without members only, "enter" for one that exists only, "" for either. 35 attributes of a room that
-- the client opens ("" for none): with these, its first member owns it. 36 peer id that the client has in the room and gives
-- up for this one ("" for none), and 37 the generation of that membership, which proves it: the client needs no further
-- place in the room, no password, and comes in where it is locked.
-- Returns {'joined' or 'resumed', generation, id, roster or '', id with which the membership began, 1 if this client is the
-- first, else 0, info, 1 if the room did not exist, else 0, rules or '', 1 if messages wait in the room for absent members,
-- else 0, 1 if the room is watched, else 0}, {'taken', 1 if the member is held, else 0}, {'full'}, {'crowded'}
-- if the address has no further place, {'barred'}, {'late'}, {'unconfirmed'} if the state was left alone, {'superseded'} if a
-- newer attempt has the entry, or {'contested', 1 if this one is newer, else 0}: the entry is that of another attempt of the
-- same client, whose connection is open as far as is known. If the rules do not allow the join: {'locked'}, {'banned'},
-- {'closing'}, {'password', salt}, {'full', most members}; {'occupied'} or {'absent'} by ARGV[34]; {'outdated'} if the
-- worker has newer rules, and {'unknown'} if another worker can restore them, and has been asked.
if expired(ARGV[15]) then return { 'late' } end
local peer, offered, count = ARGV[2], ARGV[4], call('HLEN', KEYS[2])
local before = count > 0 and read_entry(peer) or nil

-- With the previous key comes an attempt that got no reply. A key that is the current one as well is kept by its client,
-- which offers it with every attempt.
local is_previous = before and offered ~= '-' and offered == before.previous
local kept = is_previous and offered == before.current
local repeated = is_previous and not kept
if before and (offered == '-' or offered ~= before.current or kept) then
  if not is_previous then return { 'taken', before.held > 0 and 1 or 0 } end
  local its = order(ARGV[16], ARGV[3], before)
  if its == 'older' then return { 'superseded' } end
  if before.held == 0 and not (ARGV[17] == '1' and (its == 'newer' or kept)) then
    return { 'contested', its == 'newer' and 1 or 0 }
  end
end
local bar, era, rules = ARGV[25], tonumber(ARGV[19]), read_rules()
local given_up = ARGV[36] ~= '' and read_entry(ARGV[36])
local renamed = given_up and given_up.generation == tonumber(ARGV[37])

-- Why the rules keep a new member out. Rules that Redis has lost, or that are older than they were, let nobody new in:
-- workers with members listen on the channel for those that ask. A worker that was cut off from Redis connects again soon.
local function refused()
  local known = tonumber(ARGV[26])
  if known > 0 and (not rules or tonumber(rules.v) < known) then return { 'outdated' } end
  if not rules then
    local heard = redis.pcall('PUBLISH', ARGV[31], '?')
    if type(heard) == 'number' and heard > 0 then return { 'unknown' } end
  end
  -- An attempt that may only resume is refused below, as there is no place for it.
  if ARGV[6] == '0' then return nil end
  if ARGV[32] == '1' and count == 0 and (not rules or tonumber(rules.v) < era) then return { 'unconfirmed' } end
  if not rules then return nil end
  if rules.x and tonumber(rules.x) > now_ms() then return { 'closing' } end
  if rules.b and about_rules().bans(rules, ARGV[28], peer) then return { 'banned' } end
  if renamed then return nil end
  if rules.l == '1' then return { 'locked' } end
  if rules.p and rules.p ~= ARGV[27] then return { 'password', rules.s or '' } end
  if rules.m and count >= tonumber(rules.m) then return { 'full', tonumber(rules.m) } end
end

if not before and ARGV[34] == 'open' and count > 0 then return { 'occupied' } end
if not before and ARGV[34] == 'enter' and count == 0 and not (rules and about_rules().keep_room(rules)) then
  -- A worker that has members in it may be about to announce them.
  return { ARGV[32] == '1' and 'unconfirmed' or 'absent' }
end
local refusal = not before and refused()
if refusal then return refusal end
if bar ~= '' and not before then
  local exists = false
  if bar == 'closed' then
    -- The state of a room that has ended stays for a while.
    exists = count > 0 or (rules and about_rules().keep_room(rules))
  elseif bar == 'room' then
    exists = call('EXISTS', KEYS[1]) == 1
  end
  if not exists then return { 'barred' } end
end
if not (before or renamed) and count >= tonumber(ARGV[6]) then return { 'full' } end
if not (before or renamed) and is_crowded(ARGV[23], tonumber(ARGV[24])) then return { 'crowded' } end

-- A client that was a member before the present run of Redis began has proved that by its key, once, as the generation
-- rises. No room has an epoch in the future.
local claim_epoch, claim_seq = 0, 0
if before and before.generation < era then
  claim_epoch, claim_seq = tonumber(ARGV[21]), tonumber(ARGV[22])
  if claim_epoch > now_ms() then claim_epoch, claim_seq = 0, 0 end
end
-- A worker that knows the room may be connecting again; in a room without members, there is no such worker.
local waits = era > 0 and count > 0 and now_us() < era + tonumber(ARGV[20]) * 1000
local state = state_of(tonumber(ARGV[12]), tonumber(ARGV[13]), era, waits, claim_epoch, claim_seq)
if not state then return { 'unconfirmed' } end
if bar == 'member' then write_at_any_rate() end
raise_version(state)
if before then state.version = math.max(state.version, before.generation + 1) end
local generation, id = state.version, next_quiet_id(state, not before)
local began = before and before.began or id
-- A plus sign marks a repeated key. Workers of an earlier version read it as a part of the number.
local sign = repeated and '+' or ''
local text = before and 't ' .. id .. ' ' .. peer .. ' ' .. sign .. integer(generation) or 'j ' .. id .. ' ' .. peer
-- In a room without members, no member can have missed the join: there is no history yet.
local history = count > 0 and history_of(rules, ARGV[11]) or '0 0'
append(id, text, history)
-- A client that offers its previous key again did not receive the reply to its last attempt: it gets the same answer.
local first = count == (before and 1 or 0) or (repeated and string.sub(before.attempt, -1) == '!')
local known = before and before.info or ''
local info = ARGV[14] ~= '' and ARGV[14] or known
local change
if info ~= known then
  id = next_quiet_id(state, true)
  change = changed(id, peer, info)
  append(id, change, history)
end
-- The first member gives the room the rules of its token, or its own, and owns it.
local told
local attributes, owns = ARGV[35], ARGV[30] == '1' or ARGV[35] ~= ''
if count == 0 and (ARGV[29] ~= '' or owns) then
  local about = about_rules()
  if ARGV[29] ~= '' and (not rules or about.are_none(rules)) then
    local version = rules and rules.v
    rules, told = about.parse(ARGV[29]), true
    rules.v = version
  end
  if owns and not (rules and rules.o) then
    rules, told = rules or {}, true
    rules.o, rules.e = peer, '1'
  end
  if attributes ~= '' then
    told, rules.d = true, attributes
  end
  if told then
    about.raise_version(rules)
    id = next_quiet_id(state, false)
    told = about.told(id, '', rules)
  end
end
write_entry(peer, { generation = generation, lease = ARGV[3], held = 0, current = before and ARGV[18] or ARGV[5],
  previous = offered, info = info, began = began,
  attempt = tagged(offered ~= '-' and ARGV[16] ~= '' and ARGV[16] .. (first and '!' or '') or '', ARGV[23]) })
take_place(ARGV[23], peer, before, ARGV[7])
if ARGV[28] ~= '' then
  call('HSET', KEYS[10], peer, ARGV[28])
  call('PEXPIRE', KEYS[10], ARGV[7])
end
call('PEXPIRE', KEYS[2], ARGV[7])
save(state, ARGV[8])
if told then made.write(rules, ARGV[8]) elseif rules then call('PEXPIRE', KEYS[5], ARGV[8]) end
if ARGV[33] ~= '' and not before then report_join(ARGV[33], began, peer, count == 0, '-', info) end
call('PUBLISH', ARGV[1], text)
if change then call('PUBLISH', ARGV[1], change) end
if told then call('PUBLISH', ARGV[1], told) end
local list = tonumber(ARGV[9]) > 0 and roster(tonumber(ARGV[9]), tonumber(ARGV[10])) or ''
-- Mostly, there are neither messages nor a mark.
local waiting, watched = call('EXISTS', KEYS[8], KEYS[9]), 0
if waiting > 0 then waiting, watched = call('EXISTS', KEYS[8]), call('EXISTS', KEYS[9]) end

return { before and 'resumed' or 'joined', integer(generation), id, list, began, first and 1 or 0, info,
  state.created and 1 or 0, rules and about_rules().text(rules) or '', waiting, watched }
