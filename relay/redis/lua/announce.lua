-- Write a place again as its worker remembers it.
-- ARGV: 1 channel, 2 peer, 3 lease, 4 generation, 5 current and 6 previous fingerprint, 7 presence TTL, 8 sequence TTL (ms).
-- Returns 1, or 0 when the place belongs to a newer generation.
local peer, generation = ARGV[2], tonumber(ARGV[4])
local before = entry_of(peer)
if before and before.generation > generation then return 0 end

write_entry(peer, { generation = generation, lease = ARGV[3], held = 0, current = ARGV[5], previous = ARGV[6] })
call('PEXPIRE', KEYS[2], ARGV[7])
local state = state_of(0, 0)
state.version = math.max(state.version, generation)
if not before then
  call('PUBLISH', ARGV[1], 'j ' .. next_id(state) .. ' ' .. peer)
elseif before.generation < generation then
  raise(state)
  call('PUBLISH', ARGV[1], 't ' .. number(generation) .. ' ' .. peer)
end
save(state, ARGV[8])
return 1
