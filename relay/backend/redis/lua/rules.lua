-- The rules of a room, for the scripts that check or change them; they follow shared.lua and places.lua.
--
-- KEYS[5] options: a hash with the fields that are set, whose values have no space: v version (us), m most members, l "1" if
-- the room is locked, s salt, p key derived from the password with it, t seconds by which the rules outlive the last member,
-- h "0" without a history, o owner, e "1" if no server named the owner, a "1" if the room exists without members as well, g "1" if m, s and p came
-- from the client that opened the room, and d its attributes in Base64: these end with the last member; b bans:
-- "until,kind,key,generation|…" (ms; see relay/backend/rules.py), at most 100, x until when the room is being closed (ms). A
-- room without rules has no such key. A key of another type, or a hash with more than 16 fields or without a version, is
-- another program's and counts as missing; the next change replaces it.
--
-- Rules travel as text: "v=… m=…". Events about them are messages to no member, which workers of an earlier version deliver
-- to no client: their receiver is $room, and their body is "kind by …", where by is "-" for the relay.

local function read_rules()
  local size = redis.pcall('HLEN', KEYS[5])
  if size == 0 or type(size) ~= 'number' or size > 16 then return nil end
  local flat, rules = call('HGETALL', KEYS[5]), {}
  for i = 1, #flat, 2 do rules[flat[i]] = flat[i + 1] end
  return tonumber(rules.v) and rules or nil
end

-- The history that a script was given, none if the room has none.
local function history_of(rules, history) return rules and rules.h == '0' and '0 0' or history end

-- The functions for rooms that have rules: parse, text, raise_version, write, are_none, keep_room, end_given, write_idle, notice, told, bans,
-- kicked, add_bans and hand_over. They are made on first use, since most rooms have no rules, and each function takes time to be made.
local made
local function about_rules()
  if made then return made end
  made = {}
  local FIELDS = { 'v', 'm', 'l', 's', 'p', 't', 'h', 'o', 'e', 'a', 'g', 'd', 'b' }

  function made.parse(text)
    local rules = {}
    for name, value in string.gmatch(text, '(%l)=(%S+)') do rules[name] = value end
    return rules
  end

  function made.text(rules)
    local parts = {}
    for _, name in ipairs(FIELDS) do
      if rules[name] then parts[#parts + 1] = name .. '=' .. rules[name] end
    end
    return table.concat(parts, ' ')
  end

  function made.raise_version(rules)
    rules.v = integer(math.max((tonumber(rules.v) or 0) + 1, now_us()))
  end

  -- Deleted first, which takes no memory; see shared.lua.
  function made.write(rules, ttl)
    call('UNLINK', KEYS[5])
    local flat = {}
    for name, value in pairs(rules) do flat[#flat + 1], flat[#flat + 2] = name, value end
    call('HSET', KEYS[5], unpack(flat))
    call('PEXPIRE', KEYS[5], ttl)
  end

  function made.are_none(rules)
    for name in pairs(rules) do
      if name ~= 'v' then return false end
    end
    return true
  end

  -- Whether a room without members exists by its rules: bans, and the rests of ended bans, are not enough.
  function made.keep_room(rules)
    for name in pairs(rules) do
      if name ~= 'v' and name ~= 'b' and name ~= 'x' then return true end
    end
    return false
  end

  -- Forgets the rules from the client that opened the room, whose last member leaves.
  function made.end_given(rules)
    if not (rules.g or rules.d) then return end
    rules.d = nil
    if rules.g then rules.g, rules.m, rules.s, rules.p = nil, nil, nil, nil end
    made.raise_version(rules)
  end

  -- Of a room without members. If there are no rules any more, their version stays for a while (shortly, ms): a worker that
  -- still has the former ones must not take them for lost.
  function made.write_idle(rules, usual, shortly)
    made.write(rules, made.are_none(rules) and shortly or rules.t and tonumber(rules.t) * 1000 or usual)
  end

  function made.notice(id, kind, by, rest) return 'm ' .. id .. ' $server $room\n"" \n' .. kind .. ' ' .. by .. ' ' .. rest end

  function made.told(id, by, rules) return made.notice(id, 'rules', by == '' and '-' or by, made.text(rules)) end

  -- Calls back with each ban that is not over: its text, kind, key and generation. At most 100 of them.
  local function each_ban(rules, callback)
    local now = now_ms()
    for text in string.gmatch(rules.b or '', '[^|]+') do
      local ends, kind, key, generation = string.match(text, '^(%d+),(%a),([^,]*),(%d+)$')
      if ends and tonumber(ends) > now then callback(text, kind, key, tonumber(generation), tonumber(ends)) end
    end
  end

  function made.bans(rules, subject, peer)
    local found = false
    if rules.b then
      each_ban(rules, function(_, kind, key)
        found = found or (kind == 'p' and key == peer) or (kind == 's' and subject ~= '' and key == subject)
      end)
    end
    return found
  end

  -- Whether a member was kicked, so that its worker must not write its entry again.
  function made.kicked(rules, peer, generation)
    local found = false
    if rules and rules.b then
      each_ban(rules, function(_, kind, key, last) found = found or (kind == 'k' and key == peer and generation <= last) end)
    end
    return found
  end

  -- Adds bans {kind, key, generation, end}. Of more than 100, those that end last are kept.
  function made.add_bans(rules, bans)
    local all, new = {}, {}
    for _, ban in ipairs(bans) do
      new[ban[1] .. ban[2]] = true
      all[#all + 1] = { ban[4], integer(ban[4]) .. ',' .. ban[1] .. ',' .. ban[2] .. ',' .. integer(ban[3]) }
    end
    each_ban(rules, function(text, kind, key, _, ends) if not new[kind .. key] then all[#all + 1] = { ends, text } end end)
    table.sort(all, function(one, other) return one[1] > other[1] end)
    local texts = {}
    for i = 1, math.min(100, #all) do texts[i] = all[i][2] end
    rules.b = #texts > 0 and table.concat(texts, '|') or nil
  end

  -- The member, but for one, whose membership began first; a connected one if there is any. Of a large room, some 500 members
  -- are looked at.
  local function eldest(except)
    local best, cursor, looks = nil, '0', 0
    repeat
      local scan = call('HSCAN', KEYS[2], cursor, 'COUNT', 100)
      cursor = scan[1]
      for i = 1, #scan[2], 2 do
        looks = looks + 1
        if scan[2][i] ~= except then
          local entry = parse_entry(scan[2][i + 1])
          local epoch, seq = string.match(entry.began, '^(%d+)%-(%d+)$')
          local one = { entry.held > 0 and 1 or 0, tonumber(epoch) or 0, tonumber(seq) or 0, scan[2][i] }
          local earlier = not best
          for at = 1, 3 do
            if earlier or one[at] ~= best[at] then
              earlier = earlier or one[at] < best[at]
              break
            end
          end
          if earlier then best = one end
        end
      end
    until cursor == '0' or looks >= 500
    return best and best[4]
  end

  -- Hands a room over whose owner leaves, unless a server has named that owner; returns whether that changed the rules.
  function made.hand_over(rules, peer, is_last)
    if rules.o ~= peer or not rules.e then return false end
    rules.o, rules.e = nil, nil
    if not is_last then
      rules.o = eldest(peer)
      rules.e = rules.o and '1'
    end
    made.raise_version(rules)
    return true
  end
  return made
end

-- Removes a member, with its data in other keys: places, and those from KEYS[10] on, but for the outbox. ttl and history are
-- arguments of the script, last_ttl and last_history those of a room whose last member leaves, and rules_ttl that of its rules
-- (ms); for hook see outbox.lua. `before` are the texts of events ahead of the leave, each {id, text}, of which the first one
-- tells of rules that differ from the stored ones; nil for none.
local function remove_member(state, peer, entry, rules, before, ttl, history, last_ttl, last_history, rules_ttl, hook)
  local is_last = entry and call('HLEN', KEYS[2]) == 1
  local id = next_quiet_id(state, true)
  local text, told_id, told = 'l ' .. id .. ' ' .. peer, nil, nil
  if rules and about_rules().hand_over(rules, peer, is_last) then
    told_id = next_quiet_id(state, false)
    told = made.told(told_id, '', rules)
  end
  if not is_last or call('EXISTS', KEYS[4]) == 1 then
    -- Else the first write is that which removes the entry.
    write_at_any_rate()
    history = history_of(rules, is_last and last_history or history)
    if before then
      for _, one in ipairs(before) do append(one[1], one[2], history, is_last) end
    end
    append(id, text, history, is_last)
    if told then append(told_id, told, history, is_last) end
    if is_last then call('PEXPIRE', KEYS[8], string.match(last_history, '%S+$')) end
  end
  call('HDEL', KEYS[2], peer)
  -- Does not fail: a key of another type must not keep the leave from being published.
  for i = 10, hook == '' and #KEYS or #KEYS - 1 do redis.pcall('HDEL', KEYS[i], peer) end
  if entry then give_up_place(entry, peer) end
  save(state, is_last and last_ttl or ttl)
  if is_last then call('PEXPIRE', KEYS[9], last_ttl) end
  if rules and is_last then
    about_rules().end_given(rules)
    about_rules().write_idle(rules, rules_ttl, last_ttl)
  elseif told or before then
    about_rules().write(rules, ttl)
  end
  if hook ~= '' then report_leave(hook, id, peer, call('HLEN', KEYS[2]) == 0) end
  if before then
    for _, one in ipairs(before) do call('PUBLISH', ARGV[1], one[2]) end
  end
  call('PUBLISH', ARGV[1], text)
  if told then call('PUBLISH', ARGV[1], told) end
end
