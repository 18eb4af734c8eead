-- Read the messages from or to a peer that wait in a room.
-- Cost: O(messages that wait in the room), of which there are at most 512 with 1 MB; O(1) mostly, as there are none.
--
-- KEYS: 1 waiting, see wait.lua.
-- ARGV: 1 peer.
-- Returns them in the order in which they were recorded: sender, receiver, key, envelope, time for which it still waits (ms).
local all = redis.call('HGETALL', KEYS[1])
local time = redis.call('TIME')
local ms = time[1] * 1000 + math.floor(time[2] / 1000)
local found = {}
for i = 1, #all, 2 do
  local sender, key = string.match(all[i], '^(%S+) (%S+)$')
  local recorded, ends, receiver, envelope = string.match(all[i + 1], '^(%d+) (%d+) (%S*) ()')
  if key and recorded and (sender == ARGV[1] or receiver == ARGV[1]) then
    local rest = string.format('%.0f', tonumber(ends) - ms)
    found[#found + 1] = { tonumber(recorded), { sender, receiver, key, string.sub(all[i + 1], envelope), rest } }
  end
end
table.sort(found, function(one, other) return one[1] < other[1] end)
for i, one in ipairs(found) do found[i] = one[2] end
return found
