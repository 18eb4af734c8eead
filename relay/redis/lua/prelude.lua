-- Shared by all room scripts. KEYS: 1 meta hash (e epoch, s sequence, g generation), 2 presence hash, 3 repeat keys.
-- A presence entry is "generation lease until current previous": until is 0 while connected, else the end of the hold.

local function number(n) return string.format('%.0f', n) end

local function now_us()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function now_ms() return math.floor(now_us() / 1000) end

-- A state that was lost, or is older than what the caller has seen of it, begins a new epoch.
local function epoch_of(ttl, seen_epoch, seen_seq)
  local meta = redis.call('HMGET', KEYS[1], 'e', 's')
  local epoch, seq = tonumber(meta[1] or 0), tonumber(meta[2] or 0)
  if epoch == 0 or seen_epoch > epoch or (seen_epoch == epoch and seen_seq > seq) then
    epoch = math.max(now_ms(), epoch + 1, seen_epoch + 1)
    redis.call('HSET', KEYS[1], 'e', number(epoch), 's', 0)
    redis.call('DEL', KEYS[3])
    redis.call('PEXPIRE', KEYS[1], ttl)
  end
  return number(epoch)
end

local function next_seq(ttl)
  local seq = redis.call('HINCRBY', KEYS[1], 's', 1)
  redis.call('PEXPIRE', KEYS[1], ttl)
  return number(seq)
end

local function next_id(ttl) return epoch_of(ttl, 0, 0) .. '-' .. next_seq(ttl) end

local function current_id(ttl)
  local epoch = epoch_of(ttl, 0, 0)
  return epoch .. '-' .. redis.call('HGET', KEYS[1], 's')
end

local function entry_of(peer)
  local text = redis.call('HGET', KEYS[2], peer)
  if not text then return nil end
  local generation, lease, held, current, previous = string.match(text, '^(%S+) (%S+) (%S+) (%S+) (%S+)$')
  return { generation = tonumber(generation), lease = lease, held = tonumber(held), current = current, previous = previous }
end

local function write_entry(peer, entry)
  local text = table.concat(
    { number(entry.generation), entry.lease, number(entry.held), entry.current, entry.previous }, ' ')
  redis.call('HSET', KEYS[2], peer, text)
end

-- First members of a long list, all of a short one: peer, held until, …
local function roster(limit)
  local count = redis.call('HLEN', KEYS[2])
  local flat
  if count > limit then
    flat = redis.call('HRANDFIELD', KEYS[2], limit, 'WITHVALUES')
  else
    flat = redis.call('HGETALL', KEYS[2])
  end
  for i = 2, #flat, 2 do flat[i] = string.match(flat[i], '^%S+ %S+ (%S+)') end
  return { count, flat }
end
