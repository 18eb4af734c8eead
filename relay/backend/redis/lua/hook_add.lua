-- Add events to the queue of the webhook.
-- Cost: O(events that are added and dropped), of which there are at most 200 each.
--
-- KEYS: 1 queue: a stream of entries {r, room, e, entry of the outbox (see outbox.lua)}; 2 its state: a hash with the fields
-- "new" (events that were dropped), "told" and "notice" (those of which the sender is telling the receiver, and the name of
-- this number, until it has), "flight" (the last entry of the batch that the sender has taken), and "bytes" (those of all
-- entries). Both are of one slot.
-- ARGV: 1 most entries, and most kilobytes of them, 2 TTL (ms), 3 events that were dropped before they came here, 4… room, entry, room, entry, …
-- Returns {number of entries, number of events that were dropped}. The oldest entries are dropped, but for those that the
-- sender has taken: these may have reached the receiver. The script works although Redis's memory is used up, as the queue
-- is bounded. Keys of another type are replaced.
local call, pcall = redis.call, redis.pcall
if type(pcall('HDEL', KEYS[2], '')) == 'table' then call('UNLINK', KEYS[2]) end
if type(pcall('XLEN', KEYS[1])) == 'table' then call('UNLINK', KEYS[1]) end
local added = 0
for i = 4, #ARGV, 2 do
  call('XADD', KEYS[1], '*', 'r', ARGV[i], 'e', ARGV[i + 1])
  added = added + #ARGV[i] + #ARGV[i + 1]
end
local dropped, length = tonumber(ARGV[3]), call('XLEN', KEYS[1])
-- An empty queue begins to count anew: Redis may have lost one of the two keys.
local known = length > (#ARGV - 3) / 2 and tonumber(call('HGET', KEYS[2], 'bytes') or 0) or 0
local surplus, bytes, most_bytes = length - tonumber(ARGV[1]), known + added, tonumber(ARGV[1]) * 1024
if surplus > 0 or bytes > most_bytes then
  local taken = call('HGET', KEYS[2], 'flight')
  local count = bytes > most_bytes and 200 or math.min(surplus, 200)
  for _, entry in ipairs(call('XRANGE', KEYS[1], taken and '(' .. taken or '-', '+', 'COUNT', count)) do
    if surplus <= 0 and bytes <= most_bytes then break end
    call('XDEL', KEYS[1], entry[1])
    for at = 2, #entry[2], 2 do bytes = bytes - #entry[2][at] end
    surplus, dropped, length = surplus - 1, dropped + 1, length - 1
  end
end
call('HSET', KEYS[2], 'bytes', string.format('%.0f', math.max(bytes, 0)))
if dropped > 0 then call('HINCRBY', KEYS[2], 'new', dropped) end
call('PEXPIRE', KEYS[1], ARGV[2])
call('PEXPIRE', KEYS[2], ARGV[2])
return { length, dropped }
