-- ARGV: 1 channel, 2 peer, 3 lease, 4 generation (0: unknown), 5 current fingerprint, 6 hold (ms, 0: leave), 7 sequence TTL,
-- 8 log, 9 and 10 newest id the worker has seen.
-- Returns 1, or 0 when the place is not this lease's any more.
local peer, generation = ARGV[2], tonumber(ARGV[4])
local entry = entry_of(peer)
if not entry or entry.lease ~= ARGV[3] then return 0 end
if generation > 0 and entry.generation ~= generation then return 0 end
if generation == 0 and entry.current ~= ARGV[5] then return 0 end

local hold = tonumber(ARGV[6])
if hold > 0 then
  entry.held = now_ms() + hold
  write_entry(peer, entry)
else
  call('HDEL', KEYS[2], peer)
  local state = state_of(tonumber(ARGV[9]), tonumber(ARGV[10]))
  raise(state)
  local id = next_id(state)
  save(state, ARGV[7])
  emit(ARGV[1], id, 'l ' .. id .. ' ' .. peer, ARGV[8])
end
return 1
