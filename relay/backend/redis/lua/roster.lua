-- ARGV: 1 length of the list. Returns {id or '', roster}; changes nothing.
local state = redis.call('EXISTS', KEYS[1]) == 1 and state_of(0, 0)
return { state and id_of(state) or '', roster(tonumber(ARGV[1])) }
