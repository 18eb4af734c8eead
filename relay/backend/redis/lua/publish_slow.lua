-- The slow path of publishing, for one message: it checks a claim by the sender's presence entry, and knows keys.
-- Cost: O(bytes of the message), and O(addressees), of which there are at most 100. The history drops its oldest entries, each
-- once: O(entries of a node of the stream), and for a large message O(entries of the history), up to 500 large ones at a time.
-- Of the keys of messages, at most 100 are dropped at a time.
--
-- KEYS: 1 to 4 of those in shared.lua. The options are left out, as each key costs 2 % of a message. Of a large message, 5
-- is the list of large messages in the history: "id size total", where total counts the bytes of this and all before it.
-- ARGV: 1 Redis channel, 2 the published text after the id (it begins with the sender), 3 sequence number of the newest id
-- that the worker has seen in the newest epoch, 4 most entries of the history (0: do not store the message), 5 the history's TTL
-- (ms; 0: the usual one), or of a large message the most bytes that the history has of those, and after a space, if it has
-- older events than it should, the id of the first one that is not, 6 "generation newest-epoch-seen state-TTL history-TTL
-- most-repeat-keys repeat-TTL length-of-key[>id] key" (ms), followed by the key of the message that must have been sent
-- before, 7… addressees. Fewer than zero most-repeat-keys are for clients whose messages are not stored: they have so many
-- keys apart from the others. With an id, only a use of the key after it makes the message a repeat. A generation
-- "=FINGERPRINT/0" is that of a sender that proves its membership by the fingerprint of its resume key, instead of by its
-- generation: connected or held, on whichever worker.
-- Returns {'sent', id, version}, {'repeat', id}, {'early'}, {'absent', peers}, {'unknown'} or {'replaced'}.
local function publish_slowly(ARGV)
  local sender = string.match(ARGV[2], '^%S+')
  local generation, seen_epoch, ttl, history_ttl, most_keys, repeat_ttl, length, keys =
    string.match(ARGV[6], '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (.*)$')
  local size, since_epoch, since_seq = string.match(length, '^(%d+)>?(%d*)%-?(%d*)$')
  local key, after = string.sub(keys, 1, tonumber(size)), string.sub(keys, tonumber(size) + 1)
  local proof = string.match(generation, '^=(%x+)/')
  generation = tonumber(generation) or 0
  local began_epoch, began_seq
  if proof then
    local entry = call('HGET', KEYS[2], sender)
    if not entry or string.match(entry, '^%S+ %S+ %S+ (%S+)') ~= proof then return { 'unknown' } end
    began_epoch, began_seq = string.match(entry, '^.* (%d+)%-(%d+)$')
  elseif generation > 0 then
    local entry = call('HGET', KEYS[2], sender)
    local current = entry and tonumber(string.match(entry, '^%S+')) or 0
    if current > generation then return { 'replaced' } end
    if current < generation then return { 'unknown' } end
    began_epoch, began_seq = string.match(entry, '^.* (%d+)%-(%d+)$')
  end

  local state = state_of(tonumber(seen_epoch), tonumber(ARGV[3]))
  local repeat_key = sender .. ' ' .. key

  -- The sequence number of the message with this key that the sender has published: a message from before its membership began
  -- was of an earlier holder of the peer id. Marks are of the present epoch; a membership that is older has published all of
  -- those with its peer id.
  local function published(mark)
    local score = call('ZSCORE', KEYS[3], mark)
    local seq = score and math.abs(tonumber(score))
    if seq and began_epoch == state.epoch_text and seq < tonumber(began_seq) then return nil end
    return seq
  end

  if key ~= '' then
    local seq = published(repeat_key)
    -- A message after which nothing repeats, or that is of another epoch, may have the key once more.
    local counts = since_epoch == '' or (since_epoch == state.epoch_text and (seq or 0) > tonumber(since_seq))
    if seq and counts then return { 'repeat', state.epoch_text .. '-' .. sequence(seq) } end
  end
  if after ~= '' and not published(sender .. ' ' .. after) then return { 'early' } end

  local newest_large = KEYS[5] and call('LINDEX', KEYS[5], -1)

  -- Drops the oldest large messages, and all events before them, until those that are left have no more than so many bytes.
  -- The newest one stays. Ids of an earlier epoch may be in the list; nothing is dropped for them.
  local function drop_large(id, size, most)
    local total = size + (newest_large and tonumber(string.match(newest_large, ' (%d+)$')) or 0)
    call('RPUSH', KEYS[5], id .. ' ' .. integer(size) .. ' ' .. integer(total))
    call('PEXPIRE', KEYS[5], ttl)
    local last_dropped
    for _ = 1, 500 do
      local epoch, seq, oldest, upto = string.match(call('LINDEX', KEYS[5], 0), '^(%d+)-(%d+) (%d+) (%d+)$')
      if epoch .. '-' .. seq == id or total - tonumber(upto) + tonumber(oldest) <= most then break end
      call('LPOP', KEYS[5])
      last_dropped = epoch .. '-' .. integer(tonumber(seq) + 1)
    end
    if last_dropped then call('XTRIM', KEYS[4], 'MINID', last_dropped) end
  end

  local absent = {}
  for i = 7, #ARGV do
    if call('HEXISTS', KEYS[2], ARGV[i]) == 0 then absent[#absent + 1] = ARGV[i] end
  end
  if #absent > 0 then return { 'absent', absent } end

  if ARGV[4] == '0' then write_at_any_rate() end
  local id = next_id(state)
  local text = 'm ' .. id .. ' ' .. ARGV[2] .. id .. '"'
  append(id, text, ARGV[4] .. ' ' .. history_ttl, true)
  local most_bytes, oldest = string.match(ARGV[5], '^(%d+) ?(.*)$')
  if KEYS[5] then drop_large(id, #text, tonumber(most_bytes)) end
  if oldest ~= '' then call('XTRIM', KEYS[4], 'MINID', '~', oldest) end
  save(state, ttl)
  call('PUBLISH', ARGV[1], text)
  -- The key is remembered once the message is out. In the other order, an error in between would lose the message: a client
  -- that sends it again would get an acknowledgement of a repeat.
  if key ~= '' then
    local most, surplus = tonumber(most_keys), {}
    if most < 0 then
      -- The newest come first. No key of another client goes for one of these.
      call('ZADD', KEYS[3], -state.seq, repeat_key)
      surplus = call('ZRANGEBYSCORE', KEYS[3], '-inf', '(0', 'LIMIT', -most, 100)
    else
      call('ZADD', KEYS[3], state.seq, repeat_key)
      local more = call('ZCARD', KEYS[3]) - most
      if more > 0 then surplus = call('ZRANGEBYSCORE', KEYS[3], 0, '+inf', 'LIMIT', 0, math.min(more, 100)) end
    end
    if #surplus > 0 then call('ZREM', KEYS[3], unpack(surplus)) end
    call('PEXPIRE', KEYS[3], repeat_ttl)
  end
  return { 'sent', id, integer(state.version) }
end
