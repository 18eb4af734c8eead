-- ARGV: 1 channel, 2 peer, 3 lease, 4 offered fingerprint, 5 fresh fingerprint, 6 most members, 7 presence TTL (ms),
-- 8 sequence TTL (ms), 9 length of the member list wanted, 0 for none, 10 log, 11 and 12 newest id the worker has seen, 13 deadline.
-- Returns {'joined'|'resumed', generation, id, roster or '', id with which the place began, 1 if nobody else is here or was at
-- the time when this peer, which asks again for want of an answer, was let in, else 0}, {'taken'}, {'full'} or {'late'}.
if late(ARGV[13]) then return { 'late' } end
local peer, offered = ARGV[2], ARGV[4]
local before = entry_of(peer)
if before and not (offered ~= '-' and (offered == before.current or offered == before.previous)) then
  return { 'taken' }
end
if not before and call('HLEN', KEYS[2]) >= tonumber(ARGV[6]) then return { 'full' } end

local state = state_of(tonumber(ARGV[11]), tonumber(ARGV[12]))
raise(state)
if before then state.version = math.max(state.version, before.generation + 1) end
local generation, id = state.version, next_id(state)
local began = before and before.began or id
write_entry(peer, {
  generation = generation, lease = ARGV[3], held = 0, current = ARGV[5], previous = offered, began = began })
call('PEXPIRE', KEYS[2], ARGV[7])
save(state, ARGV[8])
local text = before and 't ' .. id .. ' ' .. peer .. ' ' .. number(generation) or 'j ' .. id .. ' ' .. peer
emit(ARGV[1], id, text, ARGV[10])
local list = tonumber(ARGV[9]) > 0 and roster(tonumber(ARGV[9])) or ''

local function parts(text)
  local epoch, seq = string.match(text, '^(%d+)-(%d+)$')
  return tonumber(epoch), tonumber(seq)
end

local function is_first()
  if call('HLEN', KEYS[2]) == 1 then return 1 end
  if not before or offered ~= before.previous then return 0 end
  local epoch, seq = parts(began)
  for _, text in ipairs(call('HVALS', KEYS[2])) do
    local other, number_there = parts(string.match(text, '(%S+)$'))
    if other < epoch or (other == epoch and number_there < seq) then return 0 end
  end
  return 1
end

return { before and 'resumed' or 'joined', number(generation), id, list, began, is_first() }
