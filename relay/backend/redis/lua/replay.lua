-- Read one page of a room's history.
-- Cost: O(entries of the page and their bytes): at most 500 entries, and the bytes that are asked for and those of the last
-- few entries.
--
-- KEYS: see shared.lua.
-- ARGV: 1 and 2 epoch and sequence number of the last event known, 3 most entries of the page, 4 state TTL (ms), 5 most bytes
-- of the page, 6 era of the run of Redis (us, 0 if unknown). The last event known confirms the room's state, unless its
-- sequence number is 0.
-- Returns {newest id of the room, entries, quiet or ''}. There are entries only if that id is of the same epoch. The last
-- entries may exceed the bytes: so the caller sees that there is too much.
local epoch, seq = tonumber(ARGV[1]), tonumber(ARGV[2])
local state = state_of(epoch, seq, seq > 0 and tonumber(ARGV[6]) or 0)
local entries = {}
if state.epoch ~= epoch or state.confirmed then save(state, ARGV[4]) end
if state.epoch == epoch and state.seq > seq then
  local most, bytes_left, from = tonumber(ARGV[3]), tonumber(ARGV[5]), ARGV[1] .. '-' .. integer(seq + 1)
  -- A few at a time, as an entry's size shows only when it is read: the more, the smaller the last ones were.
  local count = 2
  repeat
    local few, size = call('XRANGE', KEYS[4], from, '+', 'COUNT', math.min(count, most - #entries)), 0
    for _, entry in ipairs(few) do
      entries[#entries + 1] = entry
      size = size + #entry[2][2]
    end
    bytes_left = bytes_left - size
    from = #few > 0 and '(' .. few[#few][1]
    local ended = #few < count
    count = size > 4096 * #few and 2 or math.min(16, 2 * count)
  until ended or #entries >= most or bytes_left < 0
end
return { id_of(state), entries, read_quiet() }
