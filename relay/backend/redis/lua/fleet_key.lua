-- Share the records of fleet keys that a worker knows, and return those of the fleet.
-- Cost: O(1); a worker shares and Redis stores at most four records.
--
-- KEYS: 1 the fleet key: records "MADE-SECRET" with spaces between, the oldest first. MADE is the time at which the key was
-- made, in Redis's own time (microseconds, 17 digits); SECRET is 64 hex digits.
-- ARGV: 1 TTL (ms), 2 most records, 3 secret of a new record, for a fleet that has none, 4 records that the worker knows.
-- Returns the records, as they are stored. The oldest one is the present key. Of the others, the newest are stored.
-- Without records and a secret, it stores nothing and returns "".

-- Only the beginning is read. Redis would not give a value of another type, which another program wrote: it is replaced.
local stored = redis.pcall('GETRANGE', KEYS[1], 0, 83 * tonumber(ARGV[2]))
if type(stored) ~= 'string' then stored = '' end
local records, seen = {}, {}
for record in string.gmatch(stored .. ' ' .. ARGV[4], '%S+') do
  if #record == 82 and string.find(record, '^%d+%-[0-9a-f]+$') and string.sub(record, 18, 18) == '-' and not seen[record] then
    seen[record] = true
    records[#records + 1] = record
  end
end
if #records == 0 then
  if ARGV[3] == '' then return '' end
  local time = redis.call('TIME')
  records[1] = string.format('%011d%06d', tonumber(time[1]), tonumber(time[2])) .. '-' .. ARGV[3]
end
table.sort(records)
while #records > tonumber(ARGV[2]) do table.remove(records, 2) end
local text = table.concat(records, ' ')
if text == stored then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
else
  redis.call('SET', KEYS[1], text, 'PX', ARGV[1])
end
return text
