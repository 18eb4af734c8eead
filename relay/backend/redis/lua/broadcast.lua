-- The tree of a broadcast: give a member its place, note whether it can relay, take it out, or read its place.
-- Cost: O(1); to enter a tree in which the initiator has no place, O(members), of which at most some 500 are looked at, and at
-- most 64 levels above each. When more have left than are there, O(members of the tree), to take these out.
--
-- KEYS: 1 the presence of the room; 2 the tree: a hash, peer id -> "source receivers relay" (source "-" for none, relay "1"
-- or "0"), and in the field "$last" the member that was given a viewer last.
-- ARGV: 1 what: "enter", "relay", "leave" or "find", 2 peer id, 3 TTL (ms), 4 initiator, and 5 most receivers of a member, to
-- enter; 4 "1" or "0" for relay.
-- Returns the source, '' for none, to enter; the text of the place, '' for one that is not in the room, to find; else ''.
local what, peer, ttl = ARGV[1], ARGV[2], ARGV[3]
local LOOKS, LEVELS, MOST_GONE = 500, 64, 64

local function read(one)
  local text = redis.call('HGET', KEYS[2], one)
  if not text then return nil end
  local source, receivers, relay = string.match(text, '^(%S+) (%d+) ([01])$')
  if not source then return nil end
  return { source = source, receivers = tonumber(receivers), relay = relay }
end

local function write(one, place)
  redis.call('HSET', KEYS[2], one, string.format('%s %d %s', place.source, place.receivers, place.relay))
end

local function is_there(one) return redis.call('HEXISTS', KEYS[1], one) == 1 end

local function release(place)
  local source = place and place.source ~= '-' and read(place.source)
  if source then
    source.receivers = math.max(0, source.receivers - 1)
    write(place.source, source)
  end
end

-- Whether a member gets its streams from this one, or is too far down to tell.
local function receives_from_peer(one)
  for _ = 1, LEVELS do
    if one == peer then return true end
    local place = read(one)
    if not place or place.source == '-' then return false end
    one = place.source
  end
  return true
end

-- The place of the initiator is not needed to be recorded: Redis may have lost the tree.
local function place_of(one) return read(one) or one == ARGV[4] and { source = '-', receivers = 0, relay = '0' } or nil end

local function has_place(one, most)
  local place = one ~= peer and place_of(one)
  return place and place.receivers < most and is_there(one) and not receives_from_peer(one)
end

local function relaying(most)
  local cursor, looks = '0', 0
  repeat
    local scan = redis.call('HSCAN', KEYS[2], cursor, 'COUNT', 100)
    cursor = scan[1]
    for i = 1, #scan[2], 2 do
      looks = looks + 1
      local one = scan[2][i]
      if string.sub(scan[2][i + 1], -2) == ' 1' and has_place(one, most) then return one end
    end
  until cursor == '0' or looks >= LOOKS
  return nil
end

local function source_of(initiator, most)
  if peer == initiator then return nil end
  if has_place(initiator, most) then return initiator end
  local last = redis.call('HGET', KEYS[2], '$last')
  if last and has_place(last, most) then return last end
  return relaying(most) or (is_there(initiator) and initiator) or nil
end

local before = read(peer)
if what == 'find' then
  if not is_there(peer) then return '' end
  return before and string.format('%s %d %s', before.source, before.receivers, before.relay) or '- 0 0'
end
redis.call('PEXPIRE', KEYS[2], ttl)
if what == 'relay' then
  if before then
    before.relay = ARGV[4]
    write(peer, before)
  end
  return ''
end
-- Nobody takes the members out of a tree without an initiator.
if what == 'enter' and redis.call('HLEN', KEYS[2]) > 2 * redis.call('HLEN', KEYS[1]) + MOST_GONE then
  local cursor, gone = '0', {}
  repeat
    local scan = redis.call('HSCAN', KEYS[2], cursor, 'COUNT', 100)
    cursor = scan[1]
    for i = 1, #scan[2], 2 do
      local one = scan[2][i]
      if one ~= '$last' and one ~= peer and not is_there(one) then gone[#gone + 1] = one end
    end
  until cursor == '0'
  for _, one in ipairs(gone) do
    release(read(one))
    redis.call('HDEL', KEYS[2], one)
  end
end
release(before)
if what == 'leave' then
  redis.call('HDEL', KEYS[2], peer)
  return ''
end
local chosen = source_of(ARGV[4], tonumber(ARGV[5]))
if chosen then
  local place = place_of(chosen)
  place.receivers = place.receivers + 1
  write(chosen, place)
  redis.call('HSET', KEYS[2], '$last', chosen)
end
write(peer, { source = chosen or '-', receivers = before and before.receivers or 0, relay = '0' })
redis.call('PEXPIRE', KEYS[2], ttl)
return chosen or ''
