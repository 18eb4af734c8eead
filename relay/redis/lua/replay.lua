-- ARGV: 1 and 2 epoch and sequence number of the last event known, 3 most entries, 4 sequence TTL (ms).
-- Returns {id, entries}: the room's newest id, and the log's next entries if that id is of the same epoch.
local epoch, seq = tonumber(ARGV[1]), tonumber(ARGV[2])
local state = state_of(epoch, seq)
local entries = {}
if state.epoch ~= epoch then
  save(state, ARGV[4])
elseif state.seq > seq then
  entries = call('XRANGE', KEYS[4], ARGV[1] .. '-' .. number(seq + 1), '+', 'COUNT', ARGV[3])
end
return { id_of(state), entries }
