-- Do nothing if the worker has given this call up; see relay/backend/redis/fence.py. This part stands ahead of the scripts that
-- publish events of rooms, where another Redis may take the part of this one.
-- ARGV: the last one is the time until which the worker waits for this call (ms, 0 if the clock of Redis is not known).
local deadline = tonumber(ARGV[#ARGV])
if deadline > 0 then
  local now = redis.call('TIME')
  if now[1] * 1000 + now[2] / 1000 > deadline then return { 'given up' } end
end
ARGV[#ARGV] = nil
