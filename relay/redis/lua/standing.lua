-- The beginning of publish, ahead of the prelude, whose functions cost time to make.
-- ARGV: 1 channel, 2 what follows the id on the wire (the sender first), 3 and 4 the sender's fence: version (0: look
-- closely) and epoch, 5 newest sequence number the worker has seen in that epoch, 6 most entries of the log (0: none),
-- 7 its TTL (0: not to be renewed now), 8 "generation newest-epoch-seen sequence-TTL log-TTL most-repeat-keys repeat-TTL
-- key-length key" (ms) and the key that this one comes after, 9… addressees.
-- Returns an id, {'sent', id, version}, {'repeat', id}, {'early'}, {'absent', peers}, {'unknown'} or {'replaced'}.

-- While the version stands the sender's claim does, and the worker of a member keeps the room from expiring.
if redis.call('HGET', KEYS[1], 'g') == ARGV[3] then
  local seq = redis.call('HINCRBY', KEYS[1], 's', 1)
  if seq > tonumber(ARGV[5]) then
    local id = ARGV[4] .. '-' .. string.format('%.0f', seq)
    local text = 'm ' .. id .. ' ' .. ARGV[2] .. id .. '"'
    if ARGV[6] ~= '0' then
      redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[6], id, 'e', text)
      if ARGV[7] ~= '0' then redis.call('PEXPIRE', KEYS[4], ARGV[7]) end
    end
    redis.call('PUBLISH', ARGV[1], text)
    return id
  end
  redis.call('HINCRBY', KEYS[1], 's', -1)
end

