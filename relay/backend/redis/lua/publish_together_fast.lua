-- Publish several messages of one room, in their order, with the same result for each as one call of publish.lua would have:
-- the fast path, for members with the room's membership version. No message has a key or is large. If the version is not
-- current, or some addressee is not in the room, all messages fall through to the slow path, one after the other, and so do
-- those after one that the history refuses.
-- Cost: O(messages), of which there are at most 16 with 64 KB and 100 addressees in all; each costs as much as in
-- publish_fast.lua at most, but for large messages and keys, of which there are none.
--
-- KEYS: 1 to 4 of those in shared.lua.
-- ARGV: 1 Redis channel, 2 number of messages, 3 to 7 as in publish_fast.lua, for all of them, 8 the same without the
-- generation, 9 the generations of the senders, with spaces in between, 10… the published texts, then all addressees of
-- all messages.
-- Returns the result of each message, as publish_fast.lua has them, or the error with which it failed.

local call, redis_pcall, KEYS, ARGV = redis.call, redis.pcall, KEYS, ARGV
local number, sent, results = tonumber(ARGV[2]), 0, {}
local fast = true
for i = 10 + number, #ARGV do fast = fast and call('HEXISTS', KEYS[2], ARGV[i]) == 1 end
if fast then
  -- One step checks the version and counts all messages.
  local before = call('HINCRBY', KEYS[1], ARGV[3], number) - number
  if before > 0 and before >= tonumber(ARGV[5]) then
    local channel, epoch, most = ARGV[1], ARGV[4] .. '-', ARGV[6]
    for i = 1, number do
      local id = epoch .. before + i
      local text = 'm ' .. id .. ' ' .. ARGV[9 + i] .. id .. '"'
      if most ~= '0' then
        local added = redis_pcall('XADD', KEYS[4], 'MAXLEN', '~', most, id, 'e', text)
        if added.err then
          -- As in publish_fast.lua: undo the count, for this message and those after it.
          call('HINCRBY', KEYS[1], ARGV[3], sent - number)
          break
        end
      end
      call('PUBLISH', channel, text)
      results[i], sent = id, i
    end
    if sent > 0 and most ~= '0' and ARGV[7] ~= '0' then
      local ttl, oldest = string.match(ARGV[7], '^(%d+) ?(.*)$')
      call('PEXPIRE', KEYS[4], ttl)
      if oldest ~= '' then call('XTRIM', KEYS[4], 'MINID', '~', oldest) end
    end
  -- As in publish_fast.lua: undo the count.
  elseif before == 0 and call('HLEN', KEYS[1]) ~= 2 then
    call('HDEL', KEYS[1], ARGV[3])
  else
    call('HINCRBY', KEYS[1], ARGV[3], -number)
  end
end
if sent == number then return results end
