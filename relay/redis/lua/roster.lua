-- ARGV: 1 length of the list. Returns {id or '', roster}; changes nothing.
local meta = redis.call('HMGET', KEYS[1], 'e', 's')
return { meta[1] and meta[1] .. '-' .. meta[2] or '', roster(tonumber(ARGV[1])) }
