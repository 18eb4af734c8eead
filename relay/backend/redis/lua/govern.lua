-- Read the rules of a room, change them, or restore them as a worker remembers them.
-- Cost: O(1); with bans O(bans), of which there are at most 100.
--
-- KEYS: see shared.lua.
-- ARGV: 1 operation: "read", "change" or "restore", 2 rules to set or to restore, as text (see rules.lua), 3 names of the fields to
-- remove, 4 who changes them ("" for the relay), 5 "1" to change the rules of a room that does not exist as well, 6 Redis
-- channel, 7 state TTL (ms), 8 TTL of the rules of a room without members (ms), 9 history, 10 era of the run of Redis (us, 0 if
-- unknown), 11 time after its beginning in which an unconfirmed state is left alone (ms), 12 state TTL of
-- a room without members (ms).
-- Returns the rules as text, '' for none; {'absent'} if the room does not exist, {'unconfirmed'} if the state was left alone.
--
-- Rules that are restored replace older ones only, and no event tells of them: the members know them.
local rules, operation, about = read_rules(), ARGV[1], about_rules()
local occupied = call('HLEN', KEYS[2]) > 0

local function write() if occupied then about.write(rules, ARGV[7]) else about.write_idle(rules, ARGV[8], ARGV[12]) end end

if operation == 'restore' then
  local known = about.parse(ARGV[2])
  if not rules or tonumber(rules.v) < tonumber(known.v) then
    rules = known
    -- Its members are announced next.
    about.write(rules, ARGV[7])
  end
elseif operation == 'change' then
  local exists = call('EXISTS', KEYS[1]) == 1
  if not rules and not exists and ARGV[5] ~= '1' then return { 'absent' } end
  local state, text, id
  if exists then
    local era = tonumber(ARGV[10])
    state = state_of(0, 0, era, era > 0 and now_us() < era + tonumber(ARGV[11]) * 1000)
    if not state then return { 'unconfirmed' } end
  end
  rules = rules or {}
  for name, value in pairs(about.parse(ARGV[2])) do rules[name] = value end
  for name in string.gmatch(ARGV[3], '%l') do rules[name] = nil end
  about.raise_version(rules)
  if state then
    id = next_quiet_id(state, false)
    text = about.told(id, ARGV[4], rules)
    if occupied then append(id, text, history_of(rules, ARGV[9])) end
  end
  write()
  if state then
    save(state, occupied and ARGV[7] or ARGV[12])
    call('PUBLISH', ARGV[6], text)
  end
end
return rules and about.text(rules) or ''
