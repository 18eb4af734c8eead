-- Publish messages of several rooms, of each room in their order, with the same result for each as if it were alone: the fast
-- path, for members whose membership version is the room's. No message has a key or is large for a history. If the version of a
-- room's messages is not current, or some addressee is not in that room, its messages fall through to the slow path in
-- shared.lua and publish_slow.lua, one after the other, and so do those after one that the history refuses. This part
-- stands ahead of these, which are parts of the same script, because making their functions takes time.
-- Cost: O(bytes of the messages), which are one message, or at most 16 of 4 KB each; and O(addressees), of which there are at
-- most 100 in all. For each message, the history drops its oldest entries, each once: O(entries of a node of the stream).
--
-- KEYS: of each room, 1 to 4 of those in shared.lua. On a cluster, all messages are of one room, as its keys are of one slot.
-- ARGV: 1 number of rooms, 2 most entries of the history (0: do not store the messages), 3 "state-TTL history-TTL
-- most-repeat-keys repeat-TTL 0 " (ms), see publish_slow.lua, 4 whether the history's TTL is to be renewed in some room (0 or 1);
-- then of each room: its Redis channel, the senders' membership version, "messages", or "messages addressees" with their
-- numbers, the sequence number that the last one of the messages is expected to have (0: unknown), "epoch-seen TTL oldest
-- generations" with the version's epoch, the sequence number of the newest id that the worker has seen in that epoch, the
-- history's TTL (ms; 0: do not renew it now), the id of its first event that is not older than it should be (-: all are) and
-- the generation of each sender; the published texts, then all addressees of these messages. Where the
-- sequence numbers are unknown, the texts are as in publish_slow.lua, else whole: with "m ID " in front, and with the id and
-- a quote at the end.
-- Returns for each room the sequence number of its last message if all took the fast path, else the result of each message, as
-- publish_slow.lua has them, or the error with which it failed.

-- The room's counter is a field that is named by the membership version. If the senders' version is current, their claims
-- are valid, and one HINCRBY both checks that and counts all messages. The TTL is not renewed: the worker of each member
-- does that. Local names cost less than global ones.
local call, redis_pcall, KEYS, ARGV = redis.call, redis.pcall, KEYS, ARGV
local most, results, slow, at = ARGV[2], {}, nil, 5
for room = 1, ARGV[1] + 0 do
  local key, channel, version, expected = 4 * room - 3, ARGV[at], ARGV[at + 1], ARGV[at + 3] + 0
  local number, found, last = tonumber(ARGV[at + 2]), true, nil
  if number then
    last = at + 4 + number
  else
    local count, peers = string.match(ARGV[at + 2], '^(%d+) (%d+)$')
    number = tonumber(count)
    last = at + 4 + number + peers
    -- Looked for first, as nothing has to be undone then. The slow path says which ones are absent.
    for i = at + 5 + number, last do
      found = found and redis_pcall('HEXISTS', KEYS[key + 1], ARGV[i]) == 1
    end
  end
  local newest, sent = found and redis_pcall('HINCRBY', KEYS[key], version, number), 0
  local epoch, before, is_current
  if newest == expected then
    -- The worker has seen the ids before these, and so the room's state is not older than those.
    is_current = true
  elseif type(newest) == 'number' then
    local seen
    epoch, seen = string.match(ARGV[at + 4], '^(%d+)-(%d+)')
    before = newest - number
    is_current = before > 0 and before >= tonumber(seen)
  end
  if is_current then
    for i = 1, number do
      -- As Lua hashes every byte of a new string, a text that comes whole costs half as much.
      local text, id = ARGV[at + 4 + i], nil
      if before then
        if expected > 0 then
          local from = string.find(text, ' ', 3, true)
          text = string.sub(text, from + 1, 1 - from)
        end
        -- Lua writes whole numbers below 10^14 without an exponent; no room has so many messages.
        id = epoch .. '-' .. before + i
        text = 'm ' .. id .. ' ' .. text .. id .. '"'
      end
      if most ~= '0' then
        -- The new entry's id, or a table with an error; a string has no field `err`.
        id = id or string.match(text, ' (%S+)')
        if redis_pcall('XADD', KEYS[key + 3], 'MAXLEN', '~', most, id, 'e', text).err then break end
      end
      call('PUBLISH', channel, text)
      sent = i
    end
    -- The history refused an entry. Undo the count: a hole in the sequence would mean to every member that it missed a
    -- message. The slow path repairs the history, or fails.
    if sent < number then call('HINCRBY', KEYS[key], version, sent - number) end
    if sent > 0 and ARGV[4] ~= '0' then
      local ttl, oldest = string.match(ARGV[at + 4], ' (%d+) (%S+)')
      if ttl ~= '0' then call('PEXPIRE', KEYS[key + 3], ttl) end
      if oldest ~= '-' then call('XTRIM', KEYS[key + 3], 'MINID', '~', oldest) end
    end
  -- The version is not current, or the state is older than the worker's last event: undo the count. A counter that began
  -- just now is not the room's own: the room has its counter beside its epoch, two fields in all.
  elseif before == 0 and call('HLEN', KEYS[key]) ~= 2 then
    call('HDEL', KEYS[key], version)
  elseif before then
    call('HINCRBY', KEYS[key], version, -number)
  end
  if sent == number then
    results[room] = newest
  else
    slow = slow or {}
    slow[#slow + 1] = { room = room, key = key, at = at, number = number, newest = newest, sent = sent, expected = expected }
  end
  at = last + 1
end
if not slow then return results end
