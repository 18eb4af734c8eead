-- What standing.lua could not settle; ARGV and what is returned are told there.
local sender = string.match(ARGV[2], '^%S+')
local generation, seen_epoch, ttl, log_ttl, most, repeat_ttl, length, keys =
  string.match(ARGV[8], '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (.*)$')
local key, after = string.sub(keys, 1, tonumber(length)), string.sub(keys, tonumber(length) + 1)
generation = tonumber(generation)
if generation > 0 then
  local entry = call('HGET', KEYS[2], sender)
  local held = entry and tonumber(string.match(entry, '^%S+')) or 0
  if held > generation then return { 'replaced' } end
  if held < generation then return { 'unknown' } end
end

local state = state_of(tonumber(seen_epoch), tonumber(ARGV[5]))
local mark = sender .. ' ' .. key
if key ~= '' then
  local before = call('ZSCORE', KEYS[3], mark)
  if before then return { 'repeat', number(state.epoch) .. '-' .. before } end
end
if after ~= '' and not call('ZSCORE', KEYS[3], sender .. ' ' .. after) then return { 'early' } end

local absent = {}
for i = 9, #ARGV do
  if call('HEXISTS', KEYS[2], ARGV[i]) == 0 then absent[#absent + 1] = ARGV[i] end
end
if #absent > 0 then return { 'absent', absent } end

local id = next_id(state)
save(state, ttl)
if key ~= '' then
  call('ZADD', KEYS[3], state.seq, mark)
  call('ZREMRANGEBYRANK', KEYS[3], 0, -1 - tonumber(most))
  call('PEXPIRE', KEYS[3], repeat_ttl)
end
emit(ARGV[1], id, 'm ' .. id .. ' ' .. ARGV[2] .. id .. '"', ARGV[6] .. ' ' .. log_ttl)
return { 'sent', id, number(state.version) }
