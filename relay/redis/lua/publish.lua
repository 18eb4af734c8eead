-- ARGV: 1 channel, 2 what follows the id on the wire (the sender first), 3 and 4 the sender's fence: version (0: look
-- closely) and epoch, 5 newest sequence number the worker has seen in that epoch, 6 "generation newest-epoch-seen
-- sequence-TTL most-repeat-keys their-TTL repeat-key" (ms), 7… addressees.
-- Returns an id, {'sent', id, version}, {'repeat', id}, {'absent', peers}, {'unknown'} or {'replaced'}.

-- While the version stands the sender's claim does, and the worker of a member keeps the room from expiring.
if call('HGET', KEYS[1], 'g') == ARGV[3] then
  local seq = call('HINCRBY', KEYS[1], 's', 1)
  if seq > tonumber(ARGV[5]) then
    local id = ARGV[4] .. '-' .. number(seq)
    call('PUBLISH', ARGV[1], 'm ' .. id .. ' ' .. ARGV[2] .. id .. '"')
    return id
  end
  call('HINCRBY', KEYS[1], 's', -1)
end

local sender = string.match(ARGV[2], '^%S+')
local generation, seen_epoch, ttl, most, repeat_ttl, key =
  string.match(ARGV[6], '^(%S+) (%S+) (%S+) (%S+) (%S+) (.*)$')
generation = tonumber(generation)
if generation > 0 then
  local entry = call('HGET', KEYS[2], sender)
  local held = entry and tonumber(string.match(entry, '^%S+')) or 0
  if held > generation then return { 'replaced' } end
  if held < generation then return { 'unknown' } end
end

local absent = {}
for i = 7, #ARGV do
  if call('HEXISTS', KEYS[2], ARGV[i]) == 0 then absent[#absent + 1] = ARGV[i] end
end
if #absent > 0 then return { 'absent', absent } end

local state = state_of(tonumber(seen_epoch), tonumber(ARGV[5]))
local mark = sender .. ' ' .. key
if key ~= '' then
  local before = call('ZSCORE', KEYS[3], mark)
  if before then return { 'repeat', number(state.epoch) .. '-' .. before } end
end

local id = next_id(state)
save(state, ttl)
if key ~= '' then
  call('ZADD', KEYS[3], state.seq, mark)
  call('ZREMRANGEBYRANK', KEYS[3], 0, -1 - tonumber(most))
  call('PEXPIRE', KEYS[3], repeat_ttl)
end
call('PUBLISH', ARGV[1], 'm ' .. id .. ' ' .. ARGV[2] .. id .. '"')
return { 'sent', id, number(state.version) }
