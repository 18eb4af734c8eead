-- Read the messages from or to a peer that wait in a room.
-- Cost: O(messages that wait in the room), of which there are at most 512 with 1 MB; O(1) mostly, as there are none. They are
-- returned as they are stored: taking them apart here would hold Redis up for longer.
--
-- KEYS: 1 waiting, see wait.lua.
-- ARGV: 1 peer.
-- Returns the time (ms), and for each message its field and its value.
local all = redis.call('HGETALL', KEYS[1])
local time = redis.call('TIME')
local found, own = { time[1] * 1000 + math.floor(time[2] / 1000) }, ARGV[1] .. ' '
for i = 1, #all, 2 do
  if string.sub(all[i], 1, #own) == own or string.match(all[i + 1], '^%d+ %d+ (%S*) ') == ARGV[1] then
    found[#found + 1], found[#found + 2] = all[i], all[i + 1]
  end
end
return found
