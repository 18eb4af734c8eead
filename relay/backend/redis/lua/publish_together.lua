-- Publish those of several messages that did not take the fast path, each as if it were alone.
local generations = string.gmatch(ARGV[9], '%d+')
for i = 1, number do
  local generation = generations()
  if i > sent then
    local text = ARGV[9 + i]
    local arguments = { ARGV[1], text, ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], generation .. ' ' .. ARGV[8] }
    for peer in string.gmatch(string.match(text, '^%S+ (%S*)'), '[^,]+') do arguments[#arguments + 1] = peer end
    -- A message that fails must not take the outcomes of the others along.
    local done, result = pcall(publish_slowly, arguments)
    if done then
      results[i] = result
    else
      -- Redis itself adds these words to an error only where a script ends with it. Redis 6.2 gives a text with the line.
      local text = type(result) == 'table' and result.err or string.gsub(tostring(result), '^.-: %d+: %-?', '')
      results[i] = { err = text .. ' script: publish_together' }
    end
  end
end
return results
