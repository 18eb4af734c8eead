-- Read a part of the tree of a room, as of its newest id.
-- Cost: O(leaves of that part, and those that are too old), of which a tree has some thousands with 256 KB.
--
-- KEYS: 1 to 6 see shared.lua; 7 to 10 see tree.lua.
-- ARGV: 1 path, 2 TTL of the tree, and of each value (ms).
-- Returns {newest id, id of the last change of the tree, number of members, list of path, value, …}.
local newest, epoch = '0', '0'
if call('HLEN', KEYS[1]) <= 16 then
  local meta = call('HGETALL', KEYS[1])
  for i = 1, #meta, 2 do
    if meta[i] == 'e' then epoch = meta[i + 1] elseif tonumber(meta[i]) then newest = meta[i + 1] end
  end
end
local leaves = flat(ARGV[1], now_ms() - tonumber(ARGV[2]))
for i = 7, 10 do call('PEXPIRE', KEYS[i], ARGV[2]) end
return { epoch .. '-' .. newest, call('HGET', TREE, '#version') or '0-0', call('HLEN', KEYS[2]), leaves }
