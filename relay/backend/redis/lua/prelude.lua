-- Shared by all room scripts. KEYS: 1 meta hash (e: epoch, the version: sequence), 2 presence hash, 3 repeat keys, 4 log.
-- A presence entry is "generation lease until current previous began": until is 0 while connected, else the end of the hold;
-- began is the id with which the place was given for the first time.
-- The version is above every generation given, and grows whenever somebody's claim to a place may have ended.
-- The log holds what is published, under its id; "log" in ARGV is "most-entries TTL" (ms), "0 0" for none.

local call = redis.call

local function number(n) return string.format('%.0f', n) end

local function now_us()
  local time = call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function now_ms() return math.floor(now_us() / 1000) end

-- Whether a command comes when its sender has given it up (a time in ms, 0 for none): it may have been held up on its way for
-- minutes, and what is true by now is not what it says.
local function late(deadline) return deadline ~= '0' and now_ms() > tonumber(deadline) end

local function raise(state) state.version = math.max(state.version + 1, now_us()) end

-- A state that was lost, or is older than what the caller has seen of it, begins a new epoch.
local function state_of(seen_epoch, seen_seq)
  local meta = call('HGETALL', KEYS[1])
  local state = { epoch = 0, seq = 0, version = 0 }
  for i = 1, #meta, 2 do
    if meta[i] == 'e' then
      state.epoch = tonumber(meta[i + 1])
    else
      state.counter, state.version, state.seq = meta[i], tonumber(meta[i]), tonumber(meta[i + 1])
    end
  end
  if state.epoch == 0 or seen_epoch > state.epoch or (seen_epoch == state.epoch and seen_seq > state.seq) then
    state.epoch, state.seq = math.max(now_ms(), state.epoch + 1, seen_epoch + 1), 0
    raise(state)
    call('DEL', KEYS[3], KEYS[4])
  end
  return state
end

local function save(state, ttl)
  local counter = number(state.version)
  if state.counter and state.counter ~= counter then call('HDEL', KEYS[1], state.counter) end
  call('HSET', KEYS[1], 'e', number(state.epoch), counter, number(state.seq))
  call('PEXPIRE', KEYS[1], ttl)
end

local function id_of(state) return number(state.epoch) .. '-' .. number(state.seq) end

local function next_id(state)
  state.seq = state.seq + 1
  return id_of(state)
end

-- Everything that has an id goes this way: into the log, and out.
local function emit(channel, id, text, log)
  local most, ttl = string.match(log, '^(%S+) (%S+)$')
  if most ~= '0' then
    call('XADD', KEYS[4], 'MAXLEN', '~', most, id, 'e', text)
    call('PEXPIRE', KEYS[4], ttl)
  end
  call('PUBLISH', channel, text)
end

local function entry_of(peer)
  local text = call('HGET', KEYS[2], peer)
  if not text then return nil end
  local generation, lease, held, current, previous, began =
    string.match(text, '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+)$')
  return { generation = tonumber(generation), lease = lease, held = tonumber(held),
    current = current, previous = previous, began = began }
end

local function write_entry(peer, entry)
  local text = table.concat(
    { number(entry.generation), entry.lease, number(entry.held), entry.current, entry.previous, entry.began }, ' ')
  call('HSET', KEYS[2], peer, text)
end

-- First members of a long list, all of a short one: peer, held until, …
local function roster(limit)
  local count = call('HLEN', KEYS[2])
  local flat
  if count > limit then
    flat = call('HRANDFIELD', KEYS[2], limit, 'WITHVALUES')
  else
    flat = call('HGETALL', KEYS[2])
  end
  for i = 2, #flat, 2 do flat[i] = string.match(flat[i], '^%S+ %S+ (%S+)') end
  return { count, flat }
end
