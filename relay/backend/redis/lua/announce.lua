-- Write a presence entry again, as its worker remembers it: Redis may have lost it.
-- Cost: O(1).
--
-- KEYS: see shared.lua; 7 places, see places.lua; 8 subjects (see join.lua), if the member has one; the outbox, if
-- there is a webhook (see outbox.lua).
-- ARGV: 1 Redis channel, 2 peer id, 3 lease, 4 generation, 5 current fingerprint, 6 previous one with the attempt's stamp,
-- 7 presence TTL, 8 state TTL (ms), 9 history, 10 and 11 newest id the worker has seen, 12 id with which the membership
-- began, 13 info, 14 time at which the worker gives up (ms), 15 length of the hold (ms, 0: the member is connected), 16 era
-- of the run of Redis (us, 0 if unknown; also for a held member, as its worker may not have seen all events), 17 tag of the member's address ("": not counted), 18 subject, 19 for
-- outbox.lua, without a subject.
-- Returns 1, 0 if there is an entry of a newer generation or attempt, or the member was kicked, or 2 if the time is over.
--
-- A master of the past may have executed an attempt that its client had given up, after a newer one at the present master: then
-- the older attempt has the higher generation.
if expired(ARGV[14]) then return 2 end
local peer, generation = ARGV[2], tonumber(ARGV[4])
local before = read_entry(peer)
if before and before.generation > generation then return 0 end
local previous, attempt = string.match(ARGV[6], '^([^@]*)(.*)$')
if before and before.generation < generation and before.began == ARGV[12]
  and order(attempt, ARGV[3], before) == 'older' then return 0 end
local rules = read_rules()
if not before and rules and about_rules().kicked(rules, peer, generation) then return 0 end

local state = state_of(tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[16]))
state.version = math.max(state.version, generation)
write_at_any_rate()
local texts = {}
local function add(id, text)
  append(id, text, history_of(rules, ARGV[9]))
  texts[#texts + 1] = text
end
local joined, opens
if not before then
  joined, opens = next_quiet_id(state, true), call('HLEN', KEYS[2]) == 0
  add(joined, 'j ' .. joined .. ' ' .. peer)
elseif before.generation < generation then
  raise_version(state)
  local id = next_quiet_id(state, false)
  add(id, 't ' .. id .. ' ' .. peer .. ' ' .. integer(generation))
end
if ARGV[13] ~= (before and before.info or '') then
  local id = next_quiet_id(state, true)
  add(id, changed(id, peer, ARGV[13]))
end
local hold = tonumber(ARGV[15])
write_entry(peer, { generation = generation, lease = ARGV[3], held = hold > 0 and now_ms() + hold or 0, current = ARGV[5], previous = previous,
  attempt = tagged(attempt, ARGV[17]), info = ARGV[13], began = ARGV[12] })
take_place(ARGV[17], peer, before, ARGV[7])
if ARGV[18] ~= '' then
  call('HSET', KEYS[8], peer, ARGV[18])
  call('PEXPIRE', KEYS[8], ARGV[7])
end
call('PEXPIRE', KEYS[2], ARGV[7])
save(state, ARGV[8])
if ARGV[19] ~= '' and joined then report_join(ARGV[19], joined, peer, opens, '+', ARGV[13]) end
for _, text in ipairs(texts) do call('PUBLISH', ARGV[1], text) end
return 1
