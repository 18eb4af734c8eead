-- ARGV: 1 and 2 epoch and sequence number of the last event known, 3 most entries, 4 sequence TTL (ms), 5 most bytes of them.
-- Returns {id, entries}: the room's newest id, and the log's next entries if that id is of the same epoch; the last of them
-- may go past what is wanted in bytes.
local epoch, seq = tonumber(ARGV[1]), tonumber(ARGV[2])
local state = state_of(epoch, seq)
local entries = {}
if state.epoch ~= epoch then
  save(state, ARGV[4])
elseif state.seq > seq then
  local most, room, after = tonumber(ARGV[3]), tonumber(ARGV[5]), ARGV[1] .. '-' .. number(seq + 1)
  -- A few at a time, as nobody knows how large they are.
  repeat
    local few = call('XRANGE', KEYS[4], after, '+', 'COUNT', math.min(16, most - #entries))
    for _, entry in ipairs(few) do
      entries[#entries + 1] = entry
      room = room - #entry[2][2]
    end
    after = #few > 0 and '(' .. few[#few][1]
  until #few < 16 or #entries >= most or room < 0
end
return { id_of(state), entries }
