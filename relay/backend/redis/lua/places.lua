-- The places of addresses in a room, for the scripts that add and remove members.
--
-- KEYS[7] places: a sorted set of "tag peer", all of score 0, in the order of the text: one for each member whose entry has
-- a tag. The tag is a short MAC of the address from which the member came last, and of the room. So a range of the set
-- has the members of one address, and its length is found in O(log(members)).
--
-- A worker of an earlier version removes a member and leaves its place, or writes the entry without its tag. Redis may
-- lose this key alone. So a place does not count for certain: it is compared with the entry where it would refuse a client.
-- A key of another type counts as empty, and is replaced.

-- The tag in an entry, '' for none.
local function tag_of(entry) return string.match(entry.attempt, '#([^!]*)') or '' end

-- Adds a tag to the stamp and the mark of an attempt ('' for none).
local function tagged(attempt, tag)
  if tag == '' then return attempt end
  local stamp, mark = string.match(attempt, '^([^!]*)(!?)$')
  return (stamp == '' and '@' or stamp) .. '#' .. tag .. mark
end

local function place_of(tag, peer) return tag .. ' ' .. peer end

-- The bounds of the places of an address. No tag has a space, and "!" is the character after it.
local function places_of(tag) return '[' .. tag .. ' ', '(' .. tag .. '!' end

-- Removes places of an address whose members are gone, or came back from elsewhere: of up to 16 that follow each other, from
-- a place that is different each time. Returns how many.
local function remove_outdated(tag, count)
  local from, to = places_of(tag)
  local first = call('ZRANK', KEYS[7], call('ZRANGEBYLEX', KEYS[7], from, to, 'LIMIT', 0, 1)[1])
  local start = first + (count > 16 and now_us() % (count - 15) or 0)
  local removed = 0
  for _, place in ipairs(call('ZRANGE', KEYS[7], start, math.min(start + 15, first + count - 1))) do
    local entry = read_entry(string.sub(place, #tag + 2))
    if not entry or tag_of(entry) ~= tag then removed = removed + call('ZREM', KEYS[7], place) end
  end
  return removed
end

-- Whether an address has as many places as it may have. O(log(members)), and 16 entries where it has.
local function is_crowded(tag, most)
  if tag == '' then return false end
  local count = redis.pcall('ZLEXCOUNT', KEYS[7], places_of(tag))
  return type(count) == 'number' and count >= most and count - remove_outdated(tag, count) >= most
end

local function give_up_place(entry, peer)
  local tag = tag_of(entry)
  if tag ~= '' then redis.pcall('ZREM', KEYS[7], place_of(tag, peer)) end
end

-- Gives a member its place, and takes the one that it has by its entry before (nil for none).
local function take_place(tag, peer, before, ttl)
  if before and tag_of(before) ~= tag then give_up_place(before, peer) end
  if tag == '' then return end
  local added = redis.pcall('ZADD', KEYS[7], 0, place_of(tag, peer))
  if type(added) == 'table' then
    call('DEL', KEYS[7])
    call('ZADD', KEYS[7], 0, place_of(tag, peer))
  end
  call('PEXPIRE', KEYS[7], ttl)
end
