-- Forget messages of a sender that wait in a room.
-- Cost: O(keys), or O(messages that wait in the room); there are at most 512 of each.
--
-- KEYS: 1 waiting, see wait.lua.
-- ARGV: 1 sender, 2… the keys of its messages; none for all of them.
-- Returns how many were forgotten.
local call = redis.call
local fields, freed, count = {}, 0, 0
if #ARGV > 1 then
  for i = 2, #ARGV do fields[#fields + 1] = ARGV[1] .. ' ' .. ARGV[i] end
else
  local all = call('HGETALL', KEYS[1])
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, #ARGV[1] + 1) == ARGV[1] .. ' ' then fields[#fields + 1] = all[i] end
  end
end
for _, field in ipairs(fields) do
  local text = call('HGET', KEYS[1], field)
  if text then
    local envelope = string.match(text, '^%d+ %d+ %S* ()')
    freed = freed + #text - (envelope or #text + 1) + 1
    count = count + call('HDEL', KEYS[1], field)
  end
end
if freed > 0 and call('HLEN', KEYS[1]) > 1 then
  call('HINCRBY', KEYS[1], 'bytes', -freed)
elseif freed > 0 then
  call('UNLINK', KEYS[1])
end
return count
