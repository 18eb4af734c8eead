-- How a client's attempt stands to the one that has an entry: 'newer', 'older' or 'unclear'. The lease is that of the worker that
-- makes the attempt. relay/backend/stamps.py has the same rules, and says why.
local function order(stamp, lease, entry)
  local function read_stamp(text)
    local earliest, width = string.match(text, '^@(%d+)%+(%d+)')
    if earliest then return tonumber(earliest), tonumber(earliest) + tonumber(width) end
  end
  local from, to = read_stamp(stamp)
  local other_from, other_to = read_stamp(entry.attempt)
  local now = now_us()
  if not from or not other_from or other_from > now then return 'newer' end
  if from > now then return 'unclear' end
  if entry.lease == lease then return from >= other_from and 'newer' or 'older' end
  if from > other_to then return 'newer' end
  return to < other_from and 'older' or 'unclear'
end
