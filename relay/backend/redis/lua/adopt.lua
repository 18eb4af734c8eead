-- Take members of a dead lease over, as held: one page of a room.
-- Cost: O(page), of about 40 members.
--
-- KEYS: see shared.lua.
-- ARGV: 1 dead lease, 2 own lease, 3 end of the hold of connected members (ms), 4 cursor ("0" to begin), 5 size of
-- the page, 6 end of the own lease (ms, 0 for unknown).
-- Returns {cursor of the next page or "0", list of {peer, generation, milliseconds left}}. The list also has members that
-- are held under the own lease already: the reply to an earlier attempt may have been lost. Returns {} if the own lease has run out:
-- another worker may be taking its members over, and would not find those that this script adds.
if expired(ARGV[6]) then return {} end
write_at_any_rate()
local dead, own, ends = ARGV[1], ARGV[2], tonumber(ARGV[3])
local now, adopted = now_ms(), {}
local scan = call('HSCAN', KEYS[2], ARGV[4], 'COUNT', ARGV[5])
for i = 1, #scan[2], 2 do
  local peer, entry = scan[2][i], parse_entry(scan[2][i + 1])
  if entry.lease == dead then
    if entry.held == 0 then entry.held = ends end
    entry.lease = own
    write_entry(peer, entry)
  end
  if entry.lease == own and entry.held > 0 then
    adopted[#adopted + 1] = { peer, integer(entry.generation), integer(math.max(0, entry.held - now)) }
  end
end
return { scan[1], adopted }
