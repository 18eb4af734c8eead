-- Put all members out of a room, and forget its rules: one page of members.
-- Cost: O(page), of about 100 members, or of some 500 in a room that Redis stores in one piece.
--
-- KEYS: 1 to 6 see shared.lua; 7 places, see places.lua; 8 the list of large messages (see publish_slow.lua), 9 the mark of a
-- watched room, 10 subjects (see join.lua), 11 delivered positions (see note.lua), 12 changes that members have prepared
-- for the end of their connections (see tree.lua), which are forgotten; the outbox, if there is a webhook (see outbox.lua).
-- ARGV: 1 Redis channel, 2 "1" for the first page, 3 reason, as JSON, 4 for how long nobody comes in (ms), 5 size of the page,
-- 6 state TTL (ms), 7 history, 8 and 9 the same of a room without members, 10 era of the run of Redis (us, 0 if unknown), 11
-- time after its beginning in which an unconfirmed state is left alone (ms), 12 for outbox.lua, with the reason.
-- Returns {members that were put out, members that are left}, or {'unconfirmed'} if the state was left alone.
local rules, about = read_rules() or {}, about_rules()
if call('EXISTS', KEYS[1]) == 0 then
  call('UNLINK', KEYS[5])
  return { 0, 0 }
end
local era = tonumber(ARGV[10])
local state = state_of(0, 0, era, era > 0 and now_us() < era + tonumber(ARGV[11]) * 1000)
if not state then return { 'unconfirmed' } end
local history = history_of(rules, ARGV[7])
local scan = call('HSCAN', KEYS[2], '0', 'COUNT', ARGV[5])[2]
local count = call('HLEN', KEYS[2])
write_at_any_rate()
raise_version(state)
local texts, ids = {}, {}
local function add(text_of, peer)
  local id = next_quiet_id(state, true)
  texts[#texts + 1] = text_of(id)
  if peer then ids[peer] = id end
  if count > 0 or call('EXISTS', KEYS[4]) == 1 then append(id, texts[#texts], history) end
end
if ARGV[2] == '1' then add(function(id) return about.notice(id, 'closed', '-', ARGV[3]) end) end
for i = 1, #scan, 2 do add(function(id) return 'l ' .. id .. ' ' .. scan[i] end, scan[i]) end
for i = 1, #scan, 2 do
  give_up_place(parse_entry(scan[i + 1]), scan[i])
  call('HDEL', KEYS[2], scan[i])
  redis.pcall('HDEL', KEYS[10], scan[i])
  redis.pcall('HDEL', KEYS[11], scan[i])
  redis.pcall('HDEL', KEYS[12], scan[i])
end
local left = call('HLEN', KEYS[2])
save(state, left > 0 and ARGV[6] or ARGV[8])
if left > 0 then
  rules.x = integer(now_ms() + tonumber(ARGV[4]))
  about.raise_version(rules)
  about.write(rules, ARGV[6])
else
  -- Workers that still have the rules must not take them for lost.
  local ended = { v = rules.v }
  about.raise_version(ended)
  about.write(ended, ARGV[8])
  local ends = string.match(ARGV[9], '%S+$')
  for _, key in ipairs({ KEYS[4], KEYS[8] }) do call('PEXPIRE', key, ends) end
  call('PEXPIRE', KEYS[9], ARGV[8])
end
if ARGV[12] ~= '' then
  for i = 1, #scan, 2 do report_leave(ARGV[12], ids[scan[i]], scan[i], left == 0 and i == #scan - 1) end
end
for _, text in ipairs(texts) do call('PUBLISH', ARGV[1], text) end
return { #scan / 2, left }
