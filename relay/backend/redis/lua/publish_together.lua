-- Publish those of the messages that did not take the fast path, each as if it were alone.

-- Redis itself adds these words to an error only where a script ends with it. Redis 6.2 gives a text with the line.
local function failure(reason)
  local text = type(reason) == 'table' and reason.err or tostring(reason)
  return { err = string.gsub(text, '^@?user_script: ?%d+: %-?', '') .. ' script: publish_together' }
end

local keys, limits = KEYS, ARGV[3]
for _, left in ipairs(slow) do
  -- The functions above take these for the keys of their room.
  KEYS = { keys[left.key], keys[left.key + 1], keys[left.key + 2], keys[left.key + 3] }
  local epoch, seen, ttl, oldest, generations = string.match(ARGV[left.at + 4], '^(%d+)-(%d+) (%d+) (%S+) (.*)$')
  local renewal = oldest == '-' and ttl or ttl .. ' ' .. oldest
  local refused, its_results, generation_of_next = type(left.newest) == 'table', {}, string.gmatch(generations, '%d+')
  for i = 1, left.number do
    local generation, text = generation_of_next(), ARGV[left.at + 4 + i]
    if i <= left.sent then
      its_results[i] = epoch .. '-' .. left.newest - left.number + i
    elseif refused then
      its_results[i] = failure(left.newest)
    else
      if left.expected > 0 then
        local from = string.find(text, ' ', 3, true)
        text = string.sub(text, from + 1, 1 - from)
      end
      local arguments = { ARGV[left.at], text, seen, most, renewal, generation .. ' ' .. epoch .. ' ' .. limits }
      for peer in string.gmatch(string.match(text, '^%S+ (%S*)'), '[^,]+') do arguments[#arguments + 1] = peer end
      -- A message that fails must not take the outcomes of the others along.
      local done, result = pcall(publish_slowly, arguments)
      its_results[i] = done and result or failure(result)
    end
  end
  results[left.room] = its_results
end
return results
