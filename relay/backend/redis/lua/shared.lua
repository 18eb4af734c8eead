-- The first part of every script that works on a room.
--
-- Cost: bounded by constants, for rooms of any size, also if another program has stored something under their keys. All
-- keys that may be large are deleted by UNLINK, which frees them outside of Redis's main thread. Each script states its own
-- worst case.
--
-- KEYS, of one room and so of one slot of a cluster:
-- 1 meta: a hash of exactly two fields. "e" is the epoch. The other field is named by the membership version, and its value
--   is the sequence number of the newest id. That name lets publish_together_fast.lua check a claim and count in one step.
--   Nothing else may be stored here; rules of a room belong into the options. A few fields of another program are ignored.
--   With more than 16 fields, the room's own counter cannot be found at a bounded cost: then the state counts as lost.
-- 2 presence: a hash, peer id -> "generation lease held-until current previous[attempt][info] began". held-until is 0 while
--   the member is connected, else the end of its hold (ms). current and previous are fingerprints of resume keys, or "-".
--   began is the id with which the membership began. attempt and info, if any, follow the previous fingerprint without a
--   space: workers of an earlier version take them for a part of it, and write them back as they are. attempt is the stamp
--   of the attempt that has the entry, "@earliest+width" (us; "@" if unknown), then "#" and the tag of the member's address
--   (see places.lua), and "!" if it was the first member of the room. info begins with "{".
-- 3 repeats: a sorted set, "sender key" -> sequence number of the message that was published with this key; below zero for
--   a client whose messages are not stored, as it has used up its bytes.
-- 4 history: a stream of the published events, under their ids.
-- 5 options: a hash with the rules of the room; see rules.lua. Publishing does not get it.
-- 6 quiet: a string "epoch changed first-last first-last …", with the sequence numbers of that epoch. Each pair is a stretch
--   of events none of which is a message, the newest stretch first, at most 400 bytes of them after the first one. changed is
--   the newest join, leave or changed info. Only scripts that add such events write it; publishing does not get it.
--
-- The membership version is at least as high as every generation in the room, and rises whenever some member's claim may
-- have ended.
--
-- An error in the middle of a script does not undo the writes before it. So scripts read every key before their first write,
-- since a key of the wrong type shows then; they append to the history first of all writes, as a stream can refuse an entry;
-- and they publish last, but for remembering a key. "history" in ARGV is "most-entries TTL" (ms), "0 0" for none. Infos of members come from
-- the worker without spaces (see infos.py), "" for none.

local call = redis.call

-- Lua would write a large number as 1.7e+15. This format takes long, and versions come several times in a row.
local last_number, last_text
local function integer(n)
  if n ~= last_number then last_number, last_text = n, string.format('%.0f', n) end
  return last_text
end

-- A sequence number, for which a faster format is wide enough.
local function sequence(n) return string.format('%d', n) end

-- The time at which the script runs, which is asked for once.
local script_time
local function now_us()
  if not script_time then
    local time = call('TIME')
    script_time = tonumber(time[1]) * 1000000 + tonumber(time[2])
  end
  return script_time
end

local function now_ms() return math.floor(now_us() / 1000) end

-- Whether the worker that sent a command has stopped waiting for it (a time in ms, 0 for unknown). A stopped process or a
-- stalled network may delay a command for minutes, and the member it is about may have left since.
local function expired(deadline) return deadline ~= '0' and now_ms() > tonumber(deadline) end

local function raise_version(state) state.version = math.max(state.version + 1, now_us()) end

-- Reads the room's epoch, version and sequence number. A state that was lost, or is older than the last event that the
-- caller has seen (restored from a snapshot), begins a new epoch.
--
-- With the era of the present run of Redis (see run.lua; 0 if unknown), a state whose version is from before that era is
-- unconfirmed: it may be older than events that members have seen. A caller that has seen events of the room, none of
-- them newer than the state, confirms it by raising the version. For any other caller, an unconfirmed state begins a new epoch; but
-- with waits, nothing is done, and nil is returned. A claim is the newest id that a member has seen: it may show that the
-- state is older, but confirms nothing.
local function state_of(seen_epoch, seen_seq, era, waits, claim_epoch, claim_seq)
  local fields = call('HLEN', KEYS[1])
  local unreadable, meta = fields > 16, {}
  if unreadable then
    meta = { 'e', call('HGET', KEYS[1], 'e') or '0' }
  elseif fields > 0 then
    meta = call('HGETALL', KEYS[1])
  end
  local state = { epoch = 0, seq = 0, version = 0, created = #meta == 0 }
  for i = 1, #meta, 2 do
    if meta[i] == 'e' then
      state.epoch, state.epoch_text = tonumber(meta[i + 1]), meta[i + 1]
    else
      local version = tonumber(meta[i])
      -- Any other field was written by another program, and is ignored.
      if version then state.counter, state.version, state.seq = meta[i], version, tonumber(meta[i + 1]) end
    end
  end
  local function is_ahead(epoch, seq) return epoch > state.epoch or (epoch == state.epoch and seq > state.seq) end
  era, claim_epoch = era or 0, claim_epoch or 0
  local unconfirmed = state.version < era
  local older = unreadable or is_ahead(seen_epoch, seen_seq) or (claim_epoch > 0 and is_ahead(claim_epoch, claim_seq))
  if state.epoch == 0 or older or (unconfirmed and seen_epoch == 0) then
    if waits and state.epoch > 0 and not older then return nil end
    state.epoch, state.seq = math.max(now_ms(), state.epoch + 1, seen_epoch + 1, claim_epoch + 1), 0
    state.epoch_text, state.begun = integer(state.epoch), true
    raise_version(state)
    call('UNLINK', KEYS[3], KEYS[4])
    if unreadable then call('UNLINK', KEYS[1]) end
  elseif unconfirmed then
    raise_version(state)
    state.confirmed = true
  end
  state.version = math.max(state.version, era)
  return state
end

-- The value of the key `quiet`, of which only the beginning is read: another program may have stored any text. A key of
-- another type counts as empty.
local function read_quiet()
  local stored = redis.pcall('GETRANGE', KEYS[6], 0, 511)
  return type(stored) == 'string' and stored or ''
end

-- Notes the events of this script, of which none is a message. A key of another type is replaced.
local function note_quiet(state, ttl)
  -- Of an epoch that begins in this script, nothing is stored.
  local stored, first, older = state.begun and '' or read_quiet(), sequence(state.quiet_from), ''
  local changed = state.changed and sequence(state.changed)
  local epoch, before, from, to, rest = string.match(stored, '^(%d+) (%d+) (%d+)%-(%d+)(.*)$')
  if epoch == state.epoch_text then
    changed, older = changed or before, rest
    if to == sequence(state.quiet_from - 1) then
      first = from
    else
      older = ' ' .. from .. '-' .. to .. rest
      if #older > 400 then older = string.match(string.sub(older, 1, 400), '^(.*) ') end
    end
  end
  local text = state.epoch_text .. ' ' .. (changed or '0') .. ' ' .. first .. '-' .. sequence(state.seq) .. older
  call('SET', KEYS[6], text, 'PX', ttl)
end

local function save(state, ttl)
  if state.quiet_from then note_quiet(state, ttl) end
  local counter = integer(state.version)
  if state.counter and state.counter ~= counter then call('HDEL', KEYS[1], state.counter) end
  call('HSET', KEYS[1], 'e', state.epoch_text, counter, sequence(state.seq))
  call('PEXPIRE', KEYS[1], ttl)
end

local function id_of(state) return state.epoch_text .. '-' .. sequence(state.seq) end

local function next_id(state)
  state.seq = state.seq + 1
  return id_of(state)
end

-- The next id, for an event that is no message; changes tells whether it is a join, a leave or a changed info.
local function next_quiet_id(state, changes)
  local id = next_id(state)
  state.quiet_from = state.quiet_from or state.seq
  if changes then state.changed = state.seq end
  return id
end

-- Redis refuses a script's first write when its memory is used up, unless that write takes no memory; then it accepts the
-- later ones, since it cannot undo the first. So a script that must work all the same begins with such a write.
-- This one does nothing.
local function write_at_any_rate() redis.pcall('HDEL', KEYS[2], '') end

-- Adds an event to the history, ahead of all other writes that take memory. Only a message renews the history's TTL: of joins
-- and leaves without messages, the stretches are known, and they must not keep old messages.
local function append(id, text, history, renews)
  local most, ttl = string.match(history, '^(%S+) (%S+)$')
  if most ~= '0' then
    local added = redis.pcall('XADD', KEYS[4], 'MAXLEN', '~', most, id, 'e', text)
    if type(added) == 'table' then
      -- A stream refuses an id that is not above its last one: then the history is ahead of the counter, of which some
      -- write was lost. Such a history is of no use, and would refuse every event until it expires. Any other error
      -- comes again, and ends the script.
      if string.find(added.err, 'equal or smaller', 1, true) then call('UNLINK', KEYS[4]) end
      call('XADD', KEYS[4], 'MAXLEN', '~', most, id, 'e', text)
    end
    -- PEXPIRE has no option for this in Redis 6.2.
    if renews or call('PTTL', KEYS[4]) < 0 then call('PEXPIRE', KEYS[4], ttl) end
  end
end

-- The event that the info of a member changed, in the form of a message to no member: a worker of an earlier version can
-- read it, and so misses no id, and delivers it to no client.
local function changed(id, peer, info) return 'm ' .. id .. ' ' .. peer .. ' $info\n""\n' .. info end

-- The info of a member has up to 1 KB, which is passed over by plain searches: a pattern would look at each character.
local function parse_entry(text)
  local generation, lease, held, current, previous, attempt, at =
    string.match(text, '^(%S+) (%S+) (%S+) (%S+) ([^ {@]+)([^ {]*)()')
  local space = string.find(text, ' ', at, true)
  return { generation = tonumber(generation), lease = lease, held = tonumber(held), current = current,
    previous = previous, attempt = attempt, info = string.sub(text, at, space - 1), began = string.sub(text, space + 1) }
end

local function read_entry(peer)
  local text = call('HGET', KEYS[2], peer)
  return text and parse_entry(text) or nil
end

local function write_entry(peer, entry)
  local text = table.concat(
    { integer(entry.generation), entry.lease, integer(entry.held), entry.current,
      entry.previous .. entry.attempt .. entry.info, entry.began }, ' ')
  call('HSET', KEYS[2], peer, text)
end

-- The number of members and a flat list of peer, held-until, info, …: of all members, or of any so many in a larger room.
-- The names and infos of the list have at most so many bytes. A page is the most that is read beyond them.
local function roster(limit, bytes_left)
  local count, list, listed, seen, page = call('HLEN', KEYS[2]), {}, 0, {}, 32
  -- From any place on, so that all members of a larger room have their turn; then from the beginning.
  local cursor = count > limit and sequence(now_us() % 1048576) or '0'
  local again = cursor ~= '0'
  while listed < limit and bytes_left >= 0 do
    local scan = call('HSCAN', KEYS[2], cursor, 'COUNT', page)
    cursor = scan[1]
    local flat = scan[2]
    for i = 1, #flat, 2 do
      local peer, entry, info = flat[i], flat[i + 1], ''
      local at = string.find(entry, '{', 1, true)
      if at then info = string.sub(entry, at, string.find(entry, ' ', at, true) - 1) end
      -- While Redis moves the hash to a table of another size, a scan may return a field twice.
      if not seen[peer] then
        bytes_left = bytes_left - #peer - #info
        if bytes_left < 0 or listed == limit then break end
        listed, seen[peer] = listed + 1, true
        list[#list + 1], list[#list + 2], list[#list + 3] = peer, string.match(entry, '^%S+ %S+ (%S+)') or '0', info
      end
    end
    if cursor == '0' then
      if not again then break end
      again = false
    end
  end
  return { count, list }
end
