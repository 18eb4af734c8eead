-- Tell members of a room to go to another one.
-- Cost: O(peers that are named).
--
-- KEYS: see shared.lua.
-- ARGV: 1 Redis channel, 2 the other room, 3 state TTL (ms), 4 history, 5 era of the run of Redis (us, 0 if unknown), 6 time
-- after its beginning in which an unconfirmed state is left alone (ms), 7… peers; none for all members.
-- Returns how many of them are there, or -1 if the state was left alone.
local count, peers = 0, '*'
if #ARGV > 6 then
  local named = {}
  for i = 7, #ARGV do
    if call('HEXISTS', KEYS[2], ARGV[i]) == 1 then named[#named + 1] = ARGV[i] end
  end
  count, peers = #named, table.concat(named, ',')
else
  count = call('HLEN', KEYS[2])
end
if count == 0 then return 0 end
local era = tonumber(ARGV[5])
local state = state_of(0, 0, era, era > 0 and now_us() < era + tonumber(ARGV[6]) * 1000)
if not state then return -1 end
local id = next_quiet_id(state, false)
local text = about_rules().notice(id, 'move', '-', ARGV[2] .. ' ' .. peers)
append(id, text, history_of(read_rules(), ARGV[4]))
save(state, ARGV[3])
call('PUBLISH', ARGV[1], text)
return count
