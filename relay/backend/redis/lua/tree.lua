-- The tree of a room, for the scripts that read and change it; they follow shared.lua.
--
-- KEYS: 7 tree: a hash, path -> value (JSON) of each leaf, and two more fields, which no path can have as "#" is in none:
-- "#bytes", the bytes of all paths and values, and "#version", the id of the last change; 8 the same paths in a sorted set, all
-- with the score 0, so that those below a path are one range; 9 the same paths by the time at which they were written (ms);
-- 10 writes: a hash, peer id -> "until changes", the changes that are made when that member's connection ends, and the time
-- at which its rights end (ms, 0 for never).
--
-- A path has no slash at its ends; that of the room itself is "". A priority is a leaf of its own, PATH/.priority. "/" and "0"
-- follow each other in ASCII, so that "PATH/" and "PATH0" bound all that is below a path.
--
-- A change is a sequence of netstrings (LENGTH:TEXT): the channel (JSON), the envelope up to the id's value, "1" if other
-- protocols get it as a message where there was nothing before at its first path, the number of writes; and for each write its
-- path, the number of leaves that are there afterwards, and path and value of each. {".sv":"timestamp"} stands for the time of
-- the change. In JSON that msgspec has written, this text cannot be a part of a string, where quotes are escaped.
--
-- "limits" in ARGV is "most-bytes most-leaves most-age TTL" (ms).
local TREE, PATHS, AGES, WRITES = KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local CHUNK = 500

local function netstrings(text)
  local at = 1
  return function()
    local length, from = string.match(text, '^(%d+):()', at)
    if not length then return nil end
    at = from + tonumber(length)
    return string.sub(text, from, at - 1)
  end
end

local function parse_limits(text)
  local bytes, leaves, age, ttl = string.match(text, '^(%d+) (%d+) (%d+) (%d+)$')
  return { bytes = tonumber(bytes), leaves = tonumber(leaves), age = tonumber(age), ttl = ttl }
end

-- The paths of the leaf at a path, and of all below it, in order.
local function at_and_below(path)
  if path == '' then return call('ZRANGE', PATHS, 0, -1) end
  local found = call('ZRANGEBYLEX', PATHS, '[' .. path .. '/', '(' .. path .. '0')
  if call('HEXISTS', TREE, path) == 1 then table.insert(found, 1, path) end
  return found
end

-- One by one where they are few; a whole tree costs less in one command.
local function values_of(paths)
  local values = {}
  if #paths > 64 and 2 * #paths > call('ZCARD', PATHS) then
    local flat, all = call('HGETALL', TREE), {}
    for i = 1, #flat, 2 do all[flat[i]] = flat[i + 1] end
    for i = 1, #paths do values[i] = all[paths[i]] or 'null' end
  else
    for i = 1, #paths do values[i] = call('HGET', TREE, paths[i]) or 'null' end
  end
  return values
end

-- Of these paths, those that were written after this time (ms): older values are not read, and are taken out by `expire`.
local function newer(paths, time)
  local old = call('ZRANGEBYSCORE', AGES, '-inf', time)
  if #old == 0 then return paths end
  local is_old, found = {}, {}
  for _, path in ipairs(old) do is_old[path] = true end
  for _, path in ipairs(paths) do
    if not is_old[path] then found[#found + 1] = path end
  end
  return found
end

-- The values at a path and below that were written after this time, in one text.
local function contents(path, time)
  local paths, parts = newer(at_and_below(path), time), {}
  local values = values_of(paths)
  for i = 1, #paths do parts[#parts + 1] = paths[i] .. '\0' .. values[i] .. '\0' end
  return table.concat(parts)
end

-- The same as a list of path, value, …
local function flat(path, time)
  local paths, list = newer(at_and_below(path), time), {}
  local values = values_of(paths)
  for i = 1, #paths do list[2 * i - 1], list[2 * i] = paths[i], values[i] end
  return list
end

local function size_of(paths)
  local values, total = values_of(paths), 0
  for i = 1, #paths do total = total + #paths[i] + #values[i] end
  return total
end

-- Reads a change, and finds the leaves that it takes away. Nothing is written.
local function plan(text, now)
  local next_part = netstrings(text)
  local stamped = string.find(text, '{".sv":"timestamp"}', 1, true)
  local function next_json()
    local part = next_part()
    return stamped and (string.gsub(part, '{"%.sv":"timestamp"}', now)) or part
  end
  local change = { channel = next_part(), body = next_json(), shareable = next_part() == '1' }
  change.gone, change.added, change.paths = {}, {}, {}
  local taken, new_bytes = {}, 0
  local function take(path)
    if not taken[path] then taken[path], change.gone[#change.gone + 1] = true, path end
  end
  for number = 1, tonumber(next_part()) do
    local path, count = next_part(), tonumber(next_part())
    local below = at_and_below(path)
    if #below + count > 0 then change.paths[#change.paths + 1] = path end
    if number == 1 then change.is_new = #below == 0 end
    for _, leaf in ipairs(below) do take(leaf) end
    if count > 0 then
      -- A value above the path ends: its place gets children. A priority is no child.
      local above = string.gsub(path, '/?%.priority$', '')
      while above ~= '' do
        above = string.match(above, '^(.*)/') or ''
        if call('HEXISTS', TREE, above) == 1 then take(above) end
      end
    end
    for _ = 1, count do
      local leaf, value = next_part(), next_json()
      change.added[#change.added + 1], change.added[#change.added + 2] = leaf, value
      new_bytes = new_bytes + #leaf + #value
    end
  end
  change.bytes = new_bytes - size_of(change.gone)
  change.leaves = #change.added / 2 - #change.gone
  return change
end

local function is_full(change, limits)
  if change.bytes <= 0 and change.leaves <= 0 then return false end
  return tonumber(call('HGET', TREE, '#bytes') or 0) + change.bytes > limits.bytes
    or call('ZCARD', PATHS) + change.leaves > limits.leaves
end

local function text_of(id, sender, receiver, channel, body)
  return 'm ' .. id .. ' ' .. sender .. ' ' .. receiver .. '\n' .. channel .. ' \n' .. body .. id .. '"'
end

local function remove(paths)
  for first = 1, #paths, CHUNK do
    local last = math.min(first + CHUNK - 1, #paths)
    call('HDEL', TREE, unpack(paths, first, last))
    call('ZREM', PATHS, unpack(paths, first, last))
    call('ZREM', AGES, unpack(paths, first, last))
  end
end

-- Of these paths, those that are not among the leaves (a list of path, value, …): the others are written over.
local function without(paths, leaves)
  if #leaves == 0 then return paths end
  local written, others = {}, {}
  for i = 1, #leaves, 2 do written[leaves[i]] = true end
  for _, path in ipairs(paths) do
    if not written[path] then others[#others + 1] = path end
  end
  return others
end

-- Writes leaves (a list of path, value, …), a chunk at a time: one command for each takes four times as long.
local function add(leaves, now)
  for first = 1, #leaves, CHUNK do
    local last, paths, ages = math.min(first + CHUNK - 1, #leaves), {}, {}
    for i = first, last, 2 do
      local at = #paths
      paths[at + 1], paths[at + 2], ages[at + 1], ages[at + 2] = 0, leaves[i], now, leaves[i]
    end
    call('HSET', TREE, unpack(leaves, first, last))
    call('ZADD', PATHS, unpack(paths))
    call('ZADD', AGES, unpack(ages))
  end
end

-- Takes out the priorities of nodes at these paths and above that have no value any more; returns their bytes.
local function prune(paths)
  local bytes, seen = 0, {}
  for _, path in ipairs(paths) do
    local node = string.gsub(path, '/?%.priority$', '')
    while not seen[node] do
      seen[node] = true
      local mark = node == '' and '.priority' or node .. '/.priority'
      local first = node == '' and call('ZRANGE', PATHS, 0, 1)
        or call('ZRANGEBYLEX', PATHS, '[' .. node .. '/', '(' .. node .. '0', 'LIMIT', 0, 2)
      if #first > 1 or (#first == 1 and first[1] ~= mark) or call('HEXISTS', TREE, node) == 1 then break end
      if #first == 1 then
        bytes = bytes + size_of(first)
        remove(first)
      end
      if node == '' then break end
      node = string.match(node, '^(.*)/') or ''
    end
  end
  return bytes
end

local function keep(state, bytes, id, ttl)
  if call('ZCARD', PATHS) == 0 then
    call('UNLINK', TREE, PATHS, AGES)
    call('HSET', TREE, '#bytes', '0', '#version', id)
  else
    call('HINCRBY', TREE, '#bytes', bytes)
    call('HSET', TREE, '#version', id)
  end
  for i = 7, 10 do call('PEXPIRE', KEYS[i], ttl) end
end

-- Makes a change, and publishes it; returns its id. The history gets it first of all; see shared.lua.
local function make(state, change, sender, channel, history, ttl, now)
  local id = next_id(state)
  local receiver = change.shareable and change.is_new and '$shared-tree' or '$tree'
  local text = text_of(id, sender, receiver, change.channel, change.body)
  append(id, text, history, true)
  remove(without(change.gone, change.added))
  add(change.added, now)
  keep(state, change.bytes - prune(change.paths), id, ttl)
  return id, text
end

-- Takes out leaves that are older than they may be: at most 64 at a time. Their removal is an event like any other.
local function expire(state, limits, sender, history, now)
  local old = call('ZRANGEBYSCORE', AGES, '-inf', now - limits.age, 'LIMIT', 0, 64)
  if #old == 0 then return nil end
  local children, bytes = {}, size_of(old)
  for i, path in ipairs(old) do
    -- No path has a control character.
    children[i] = '"' .. string.gsub(path, '[\\"]', '\\%0') .. '":null'
  end
  local id = next_id(state)
  local body = '{"path":"","children":{' .. table.concat(children, ',') .. '},"from":"' .. sender .. '","id":"'
  local text = text_of(id, sender, '$tree', '""', body)
  append(id, text, history, true)
  remove(old)
  keep(state, -bytes - prune(old), id, limits.ttl)
  return text
end
