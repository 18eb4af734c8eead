-- Publish a message: the fast path, for a member whose membership version is the room's, and a message without keys, all of
-- whose addressees are in the room. Everything else falls through to shared.lua and publish_slow.lua, which are parts of the same
-- script; this part stands ahead of them because making their functions takes time.
-- Cost: O(bytes of the message), and O(addressees), of which there are at most 100. The history drops its oldest entries, each
-- once: O(entries of a node of the stream), and for a large message O(entries of the history), up to 500 large ones at a time.
-- Of the keys of messages, at most 100 are dropped at a time.
--
-- KEYS: 1 to 4 of those in shared.lua. The options are left out, as each key costs 2 % of a message. Of a large message, 5
-- is the list of large messages in the history: "id size total", where total counts the bytes of this and all before it.
-- ARGV: 1 Redis channel, 2 the published text after the id (it begins with the sender), 3 and 4 the sender's membership
-- version and its epoch (0 and 0: take the slow path), 5 sequence number of the newest id that the worker has seen in that
-- epoch, 6 most entries of the history (0: do not store the message), 7 the history's TTL (ms; 0: do not renew it now), or of
-- a large message the most bytes that the history has of those, and after a space, if it has older events than it should, the
-- id of the first one that is not, 8 "generation newest-epoch-seen state-TTL history-TTL most-repeat-keys repeat-TTL
-- length-of-key[>id] key" (ms), followed by the key of the message that must have been sent before, 9… addressees.
-- Fewer than zero most-repeat-keys are for clients whose messages are not stored: they have so many keys apart from the others. With an id,
-- only a use of the key after it makes the message a repeat. A generation "=FINGERPRINT/0" is that of a sender that proves its
-- membership by the fingerprint of its resume key, instead of by its generation: connected or held, on whichever worker.
-- Returns an id, {'sent', id, version}, {'repeat', id}, {'early'}, {'absent', peers}, {'unknown'} or {'replaced'}.

-- The room's counter is a field that is named by the membership version. If the sender's version is current, its claim is
-- valid, and HINCRBY both checks that and counts. The TTL is not renewed: the worker of each member does that.
-- Local names cost less than global ones.
local call, pcall, KEYS, ARGV = redis.call, redis.pcall, KEYS, ARGV
local fast = ARGV[3] ~= '0'
-- Looked for first, as nothing has to be undone then. The slow path says which ones are absent.
for i = 9, #ARGV do fast = fast and call('HEXISTS', KEYS[2], ARGV[i]) == 1 end
if fast then
  local seq = call('HINCRBY', KEYS[1], ARGV[3], 1)
  if seq > 1 and seq > tonumber(ARGV[5]) then
    -- Lua writes whole numbers below 10^14 without an exponent; no room has so many messages.
    local id = ARGV[4] .. '-' .. seq
    local text = 'm ' .. id .. ' ' .. ARGV[2] .. id .. '"'
    -- The new entry's id, or a table with an error; a string has no field `err`.
    local added = ARGV[6] ~= '0' and pcall('XADD', KEYS[4], 'MAXLEN', '~', ARGV[6], id, 'e', text)
    if not added or not added.err then
      if added and ARGV[7] ~= '0' then
        local ttl, oldest = string.match(ARGV[7], '^(%d+) ?(.*)$')
        call('PEXPIRE', KEYS[4], ttl)
        if oldest ~= '' then call('XTRIM', KEYS[4], 'MINID', '~', oldest) end
      end
      call('PUBLISH', ARGV[1], text)
      return id
    end
    -- The history refused the entry. Undo the count: a hole in the sequence would mean to every member that it missed a
    -- message. The slow path below repairs the history, or fails.
    call('HINCRBY', KEYS[1], ARGV[3], -1)
  -- The version is not current, or the state is older than the worker's last event: undo the count. A counter that began
  -- just now is not the room's own: the room has its counter beside its epoch, two fields in all.
  elseif seq == 1 and call('HLEN', KEYS[1]) ~= 2 then
    call('HDEL', KEYS[1], ARGV[3])
  else
    call('HINCRBY', KEYS[1], ARGV[3], -1)
  end
end
