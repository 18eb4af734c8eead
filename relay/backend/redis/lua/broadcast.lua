-- The tree of a broadcast: give a member its place, note whether it can relay, rename it, take it out, or read its place.
-- Cost: O(1); to enter a tree in which the initiator has no place, O(members), of which at most some 500 are looked at, and at
-- most 64 levels above each. When more have left than are there, O(members of the tree), to take these out.
--
-- KEYS: 1 the presence of the room; 2 the tree: a hash. Each member has a number, so that it keeps its receivers under another
-- peer id: peer id -> "number source receivers relay" (source: the number of another member, 0 for none; relay "1" or "0"), and
-- "#number" -> peer id. "$initiator" is the peer id of the initiator, "$last" the number of the member that was given a
-- viewer last, "$numbers" the newest number.
-- ARGV: 1 operation: "enter", "relay", "rename", "leave" or "find", 2 peer id, 3 TTL (ms), 4 initiator, unless the tree has one that
-- is there, and 5 most receivers of a member, to enter; 4 "1" or "0" for relay; 4 the new peer id, to rename.
-- Returns the place, to enter and to find: "source receivers relay initiator", with the peer ids of both ("$" for one that is not there); '' for
-- one that is not in the room, to find, if the initiator is not there either; else ''.
local operation, peer, ttl = ARGV[1], ARGV[2], ARGV[3]
local LOOKS, LEVELS, MOST_GONE = 500, 64, 64
local call = redis.call

local function read(one)
  local number, source, receivers, relay =
    string.match(call('HGET', KEYS[2], one) or '', '^(%d+) (%d+) (%d+) ([01])$')
  return number and { number = number, source = source, receivers = tonumber(receivers), relay = relay } or nil
end

local function write(one, place)
  if not place.number then
    place.number = string.format('%d', call('HINCRBY', KEYS[2], '$numbers', 1))
    call('HSET', KEYS[2], '#' .. place.number, one)
  end
  local text = string.format('%s %s %d %s', place.number, place.source, place.receivers, place.relay)
  call('HSET', KEYS[2], one, text)
end

local function is_there(one) return call('HEXISTS', KEYS[1], one) == 1 end

-- The peer id of a member's source, or nil.
local function source_of(place) return place.source ~= '0' and call('HGET', KEYS[2], '#' .. place.source) or nil end

local function release(place)
  local source = place and source_of(place)
  local sender = source and read(source)
  if sender then
    sender.receivers = math.max(0, sender.receivers - 1)
    write(source, sender)
  end
end

local function take_out(one)
  local place = read(one)
  if place then
    release(place)
    call('HDEL', KEYS[2], one, '#' .. place.number)
  end
end

-- Whether a member gets its streams from this one, or is too far down to tell.
local function receives_from_peer(one)
  for _ = 1, LEVELS do
    if one == peer then return true end
    local place = read(one)
    one = place and source_of(place)
    if not one then return false end
  end
  return true
end

local known = call('HGET', KEYS[2], '$initiator') or ''
local initiator = known ~= '' and is_there(known) and known or operation == 'enter' and ARGV[4] or ''

-- The place of the initiator is not needed to be recorded: Redis may have lost the tree.
local function place_of(one)
  return read(one) or one == initiator and { source = '0', receivers = 0, relay = '0' } or nil
end

local function has_place(one, most)
  local place = one ~= peer and place_of(one)
  return place and place.receivers < most and is_there(one) and not receives_from_peer(one)
end

local function relaying(most)
  local cursor, looks = '0', 0
  repeat
    local scan = call('HSCAN', KEYS[2], cursor, 'COUNT', 100)
    cursor = scan[1]
    for i = 1, #scan[2], 2 do
      looks = looks + 1
      local one = scan[2][i]
      if string.sub(scan[2][i + 1], -2) == ' 1' and has_place(one, most) then return one end
    end
  until cursor == '0' or looks >= 2 * LOOKS
  return nil
end

local function choose_source(most)
  if peer == initiator then return nil end
  if has_place(initiator, most) then return initiator end
  local last = call('HGET', KEYS[2], '#' .. (call('HGET', KEYS[2], '$last') or ''))
  if last and has_place(last, most) then return last end
  return relaying(most) or (is_there(initiator) and initiator) or nil
end

local function there(one) return one and one ~= '' and is_there(one) and one or '$' end

local function shown(place)
  return string.format('%s %d %s %s', there(source_of(place)), place.receivers, place.relay, there(initiator))
end

local function take_out_gone()
  -- Each member has two fields.
  if call('HLEN', KEYS[2]) <= 4 * call('HLEN', KEYS[1]) + 2 * MOST_GONE then return end
  local cursor, gone = '0', {}
  repeat
    local scan = call('HSCAN', KEYS[2], cursor, 'COUNT', 100)
    cursor = scan[1]
    for i = 1, #scan[2], 2 do
      local one = scan[2][i]
      if not string.find(one, '^[#$]') and one ~= peer and not is_there(one) then gone[#gone + 1] = one end
    end
  until cursor == '0'
  for _, one in ipairs(gone) do take_out(one) end
end

if operation == 'find' then
  local found = is_there(peer) and peer or initiator
  return found == '' and '' or shown(read(found) or { source = '0', receivers = 0, relay = '0' })
end
call('PEXPIRE', KEYS[2], ttl)
-- Nobody takes the members out of a tree without an initiator. Those that go may have received from this one.
if operation == 'enter' then take_out_gone() end
local before = read(peer)
if operation == 'relay' then
  if before then
    before.relay = ARGV[4]
    write(peer, before)
  end
  return ''
end
if operation == 'rename' then
  local new = ARGV[4]
  if before and not read(new) then
    call('HDEL', KEYS[2], peer)
    write(new, before)
    call('HSET', KEYS[2], '#' .. before.number, new)
    if known == peer then call('HSET', KEYS[2], '$initiator', new) end
  end
  return ''
end
if operation == 'leave' then
  take_out(peer)
  -- Without members, it has the three fields of its own at most.
  if (known ~= '' and initiator == '') or call('HLEN', KEYS[2]) <= 3 then call('UNLINK', KEYS[2]) end
  return ''
end
release(before)
local chosen = choose_source(tonumber(ARGV[5]))
local place = before or { receivers = 0 }
place.source, place.relay = '0', '0'
if chosen then
  local sender = place_of(chosen)
  sender.receivers = sender.receivers + 1
  write(chosen, sender)
  place.source = sender.number
  call('HSET', KEYS[2], '$last', sender.number)
end
write(peer, place)
if initiator ~= known and is_there(initiator) then call('HSET', KEYS[2], '$initiator', initiator) end
call('PEXPIRE', KEYS[2], ttl)
return shown(place)
