-- Record the changes that are to be made when the connection of a member ends.
-- Cost: O(1).
--
-- KEYS: 1 to 6 see shared.lua; 7 to 10 see tree.lua.
-- ARGV: 1 peer id, 2 generation, 3 end of its rights (ms, 0 for never), 4 changes, as netstrings ("": none), 5 TTL (ms).
-- Returns 1, or 0 if it is no member with this generation.
local entry = read_entry(ARGV[1])
if not entry or entry.generation ~= tonumber(ARGV[2]) then return 0 end
if ARGV[4] == '' then
  call('HDEL', WRITES, ARGV[1])
else
  call('HSET', WRITES, ARGV[1], ARGV[3] .. ' ' .. ARGV[4])
  call('PEXPIRE', WRITES, ARGV[5])
end
return 1
