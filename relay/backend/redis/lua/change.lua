-- Change the info of a member.
-- Cost: O(1).
--
-- KEYS: see shared.lua.
-- ARGV: 1 Redis channel, 2 peer id, 3 lease, 4 generation, 5 info, 6 state TTL (ms), 7 history, 8 and 9 newest id the worker
-- has seen, 10 time at which the worker gives up (ms).
-- Returns 1, 0 if the entry is gone, or is not this lease's and generation's any more, or 2 if the time is over.
if expired(ARGV[10]) then return 2 end
local peer, info = ARGV[2], ARGV[5]
local entry = read_entry(peer)
if not entry or entry.lease ~= ARGV[3] or entry.generation ~= tonumber(ARGV[4]) then return 0 end
if entry.info == info then return 1 end

local state = state_of(tonumber(ARGV[8]), tonumber(ARGV[9]))
local id = next_quiet_id(state, true)
local text = changed(id, peer, info)
append(id, text, redis.pcall('HGET', KEYS[5], 'h') == '0' and '0 0' or ARGV[7])
entry.info = info
write_entry(peer, entry)
save(state, ARGV[6])
call('PUBLISH', ARGV[1], text)
return 1
