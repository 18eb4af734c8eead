-- Record a message whose receiver is not in the room yet.
-- Cost: O(1); O(messages that wait in the room), of which there are at most 512, while these are as many as may be.
--
-- KEYS: 1 waiting: a hash, "sender key" -> "recorded ends receiver envelope", with the time at which it was recorded (us),
-- and that at which its wait ends (ms); "bytes" -> the bytes of all envelopes. receiver may be empty.
-- ARGV: 1 sender and key, 2 receiver, 3 envelope, 4 time for which it waits, 5 time for which it stays after that (ms), 6 most
-- messages, 7 most bytes.
-- Returns 1, or 0 if the record is full.
local call = redis.call
local time = call('TIME')
local ms = time[1] * 1000 + math.floor(time[2] / 1000)
local most, most_bytes = tonumber(ARGV[6]), tonumber(ARGV[7])

local function bytes() return tonumber(call('HGET', KEYS[1], 'bytes') or 0) end

local function is_full() return call('HLEN', KEYS[1]) > most or bytes() + #ARGV[3] > most_bytes end

local function drop_expired()
  local all, expired, freed = call('HGETALL', KEYS[1]), {}, 0
  for i = 1, #all, 2 do
    local ends, envelope = string.match(all[i + 1], '^%d+ (%d+) %S* ()')
    if ends and tonumber(ends) + tonumber(ARGV[5]) < ms then
      expired[#expired + 1] = all[i]
      freed = freed + #all[i + 1] - envelope + 1
    end
  end
  if #expired > 0 then
    call('HDEL', KEYS[1], unpack(expired))
    call('HINCRBY', KEYS[1], 'bytes', -freed)
  end
end

if is_full() then
  drop_expired()
  if is_full() then return 0 end
end
local ends = ms + tonumber(ARGV[4])
local text = string.format('%d%06d %.0f %s ', time[1], time[2], ends, ARGV[2]) .. ARGV[3]
if call('HSET', KEYS[1], ARGV[1], text) == 1 then call('HINCRBY', KEYS[1], 'bytes', #ARGV[3]) end
call('PEXPIRE', KEYS[1], tonumber(ARGV[4]) + tonumber(ARGV[5]))
return 1
