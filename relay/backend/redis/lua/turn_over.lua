-- End a turn, if it is still that of its owner: the time may be over, and another one may have taken it since.
-- Cost: O(1).
--
-- KEYS: 1 turn: the owner, as long as the turn lasts.
-- ARGV: 1 owner.
-- Returns 1 if it was the owner's turn, else 0.
if redis.call('GETRANGE', KEYS[1], 0, -1) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
