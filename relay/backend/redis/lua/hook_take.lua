-- Become the sender of the webhook's events, or go on to be it, and take the oldest events of the queue; they stay in it.
-- Cost: O(events that are taken, and as many that are removed), of which there are at most 1000, and 512 KB by default.
--
-- KEYS: 1 queue and 2 its state, see hook_add.lua; 3 the sender: a string, the name of a worker. All are of one slot.
-- ARGV: 1 the worker, 2 for how long it stays the sender (ms), 3 most events (0: go on to be the sender, and nothing else),
-- 4 most bytes of them, 5 the last entry that was sent ("": none), 6 the notice that was sent ("": none), 7 TTL (ms).
-- Returns {} if another worker is the sender, else {dropped events to be told, notice or '', entries, length of the queue}.
-- Sent entries are removed in any case. The script works although Redis's memory is used up.
local call, pcall = redis.call, redis.pcall
if type(pcall('HDEL', KEYS[2], '')) == 'table' then call('UNLINK', KEYS[2]) end
if ARGV[5] ~= '' then
  local ids, size = {}, 0
  for at, entry in ipairs(pcall('XRANGE', KEYS[1], '-', ARGV[5], 'COUNT', 1000)) do
    ids[at] = entry[1]
    for value = 2, #entry[2], 2 do size = size + #entry[2][value] end
  end
  if #ids > 0 then
    call('XDEL', KEYS[1], unpack(ids))
    local bytes = tonumber(call('HGET', KEYS[2], 'bytes') or 0) - size
    call('HSET', KEYS[2], 'bytes', string.format('%.0f', math.max(bytes, 0)))
  end
end
if ARGV[6] ~= '' and call('HGET', KEYS[2], 'notice') == ARGV[6] then call('HDEL', KEYS[2], 'told', 'notice') end
local sender = pcall('GETRANGE', KEYS[3], 0, 511)
if type(sender) == 'string' and sender ~= '' and sender ~= ARGV[1] then return {} end
call('SET', KEYS[3], ARGV[1], 'PX', ARGV[2])
local most, bytes_left, entries = tonumber(ARGV[3]), tonumber(ARGV[4]), {}
if most == 0 then return { 0, '', entries, 0 } end

local found = pcall('XRANGE', KEYS[1], '-', '+', 'COUNT', most)
if found.err then
  call('UNLINK', KEYS[1])
  found = {}
end
for _, entry in ipairs(found) do
  -- Entries of the relay have two fields, of which the second one has the event.
  for _, part in ipairs(entry[2]) do bytes_left = bytes_left - #part end
  if bytes_left < 0 and #entries > 0 then break end
  entries[#entries + 1] = entry
end
if #entries > 0 then
  call('HSET', KEYS[2], 'flight', entries[#entries][1])
else
  call('HDEL', KEYS[2], 'flight')
end
local told, notice = call('HGET', KEYS[2], 'told'), call('HGET', KEYS[2], 'notice')
local new = not told and call('HGET', KEYS[2], 'new')
if new then
  local time = call('TIME')
  told, notice = new, time[1] .. '-' .. time[2]
  call('HSET', KEYS[2], 'told', told, 'notice', notice)
  call('HDEL', KEYS[2], 'new')
end
call('PEXPIRE', KEYS[1], ARGV[7])
call('PEXPIRE', KEYS[2], ARGV[7])
return { tonumber(told or 0), notice or '', entries, call('XLEN', KEYS[1]) }
