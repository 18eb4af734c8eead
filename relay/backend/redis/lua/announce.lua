-- Write a place again as its worker remembers it.
-- ARGV: 1 channel, 2 peer, 3 lease, 4 generation, 5 current and 6 previous fingerprint, 7 presence TTL, 8 sequence TTL
-- (ms), 9 log, 10 and 11 newest id the worker has seen, 12 id with which the place began, 13 deadline.
-- Returns 1, 0 when the place belongs to a newer generation, or 2 when it is too late.
if late(ARGV[13]) then return 2 end
local peer, generation = ARGV[2], tonumber(ARGV[4])
local before = entry_of(peer)
if before and before.generation > generation then return 0 end

write_entry(peer, {
  generation = generation, lease = ARGV[3], held = 0, current = ARGV[5], previous = ARGV[6], began = ARGV[12] })
call('PEXPIRE', KEYS[2], ARGV[7])
local state = state_of(tonumber(ARGV[10]), tonumber(ARGV[11]))
state.version = math.max(state.version, generation)
local id, text
if not before then
  id = next_id(state)
  text = 'j ' .. id .. ' ' .. peer
elseif before.generation < generation then
  raise(state)
  id = next_id(state)
  text = 't ' .. id .. ' ' .. peer .. ' ' .. number(generation)
end
save(state, ARGV[8])
if id then emit(ARGV[1], id, text, ARGV[9]) end
return 1
