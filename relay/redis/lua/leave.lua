-- ARGV: 1 channel, 2 peer, 3 lease, 4 generation (0: unknown), 5 current fingerprint, 6 hold (ms, 0: leave), 7 sequence TTL.
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
  local state = state_of(0, 0)
  raise(state)
  call('PUBLISH', ARGV[1], 'l ' .. next_id(state) .. ' ' .. peer)
  save(state, ARGV[7])
end
return 1
