-- Take a dead lease's members in one room over, as held. Those held under the own lease are told as well: the answer to an
-- earlier attempt may have been lost.
-- ARGV: 1 dead lease, 2 own lease, 3 when the connected ones' holds end (ms).
-- Returns a list of peer, generation, milliseconds left.
local dead, own, ends = ARGV[1], ARGV[2], tonumber(ARGV[3])
local now, adopted = now_ms(), {}
for _, peer in ipairs(redis.call('HKEYS', KEYS[2])) do
  local entry = entry_of(peer)
  if entry.lease == dead then
    if entry.held == 0 then entry.held = ends end
    entry.lease = own
    write_entry(peer, entry)
  end
  if entry.lease == own and entry.held > 0 then
    adopted[#adopted + 1] = { peer, number(entry.generation), number(math.max(0, entry.held - now)) }
  end
end
return adopted
