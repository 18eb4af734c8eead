-- The beginning of publish, ahead of the prelude, whose functions cost time to make.
-- ARGV: 1 channel, 2 what follows the id on the wire (the sender first), 3 and 4 the sender's fence: version (0: look
-- closely) and epoch, 5 newest sequence number the worker has seen in that epoch, 6 most entries of the log (0: none),
-- 7 its TTL (0: not to be renewed now), 8 "generation newest-epoch-seen sequence-TTL log-TTL most-repeat-keys repeat-TTL
-- key-length key" (ms) and the key that this one comes after, 9… addressees.
-- Returns an id, {'sent', id, version}, {'repeat', id}, {'early'}, {'absent', peers}, {'unknown'} or {'replaced'}.

-- The room's counter has the version's name: while the version stands the sender's claim does, and one step both checks
-- and counts. The worker of a member keeps the room from expiring.
if ARGV[3] ~= '0' then
  local seq = redis.call('HINCRBY', KEYS[1], ARGV[3], 1)
  if seq > 1 and seq > tonumber(ARGV[5]) then
    local id = ARGV[4] .. '-' .. string.format('%.0f', seq)
    local text = 'm ' .. id .. ' ' .. ARGV[2] .. id .. '"'
    if ARGV[6] ~= '0' then
      redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[6], id, 'e', text)
      if ARGV[7] ~= '0' then redis.call('PEXPIRE', KEYS[4], ARGV[7]) end
    end
    redis.call('PUBLISH', ARGV[1], text)
    return id
  end
  -- Not counted after all. A counter that began just now is no room's: a room has one, beside its epoch.
  if seq == 1 and redis.call('HLEN', KEYS[1]) ~= 2 then
    redis.call('HDEL', KEYS[1], ARGV[3])
  else
    redis.call('HINCRBY', KEYS[1], ARGV[3], -1)
  end
end
