-- The outbox of a room, for the scripts that add and remove members: events for the webhook that are not in the fleet's queue
-- yet (see relay/backend/webhooks.py). Cost: O(1).
--
-- The outbox is a list, the oldest event first. An entry is "KIND ID TIME PEER MORE", with the id of the join or leave in the
-- room's order, and the time (ms). KIND and MORE are:
-- o  the room was opened: MARK
-- j  joined: MARK SUBJECT INFO. MARK is "+" if Redis had lost the member, else "-". SUBJECT is percent-encoded.
-- l  left: REASON
-- c  the room was closed: "-"
-- A last entry "d COUNT" says how many further events were dropped, since the outbox was full.
--
-- Scripts get "" in ARGV while there is no webhook, else "MOST TTL MORE": the most events of an outbox, its TTL (ms), and the
-- subject or the reason. Then the outbox is the last one of KEYS. A key of another type is replaced, so that it fails no join
-- and no leave.

local function to_outbox(hook, id, peer, kinds)
  local most, ttl = string.match(hook, '^(%d+) (%d+) ')
  local key = KEYS[#KEYS]
  local length = redis.pcall('LLEN', key)
  if type(length) == 'table' then
    call('UNLINK', key)
    length = 0
  end
  if length < tonumber(most) then
    local head = ' ' .. id .. ' ' .. integer(now_ms()) .. ' ' .. peer .. ' '
    for _, kind in ipairs(kinds) do call('RPUSH', key, kind[1] .. head .. kind[2]) end
  else
    local dropped = string.match(call('LINDEX', key, -1), '^d (%d+)$')
    if dropped then
      call('LSET', key, -1, 'd ' .. integer(tonumber(dropped) + #kinds))
    else
      call('RPUSH', key, 'd ' .. #kinds)
    end
  end
  call('PEXPIRE', key, ttl)
end

-- mark is as above; opens tells whether the member is the first one.
local function report_join(hook, id, peer, opens, mark, info)
  local joined = { 'j', mark .. ' ' .. string.match(hook, '^%d+ %d+ (.*)$') .. ' ' .. info }
  to_outbox(hook, id, peer, opens and { { 'o', mark }, joined } or { joined })
end

-- closes tells whether the member was the last one.
local function report_leave(hook, id, peer, closes)
  local left = { 'l', string.match(hook, '^%d+ %d+ (.*)$') }
  to_outbox(hook, id, peer, closes and { left, { 'c', '-' } } or { left })
end
