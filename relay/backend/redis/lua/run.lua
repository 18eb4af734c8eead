-- Learn which run of Redis this is, and since when the fleet knows it.
-- Cost: O(1).
--
-- A run is one life of one Redis as a master: its run id, and its replication id, which changes when a replica becomes the
-- master. Another run may have older data. The era is the time (us) at which a worker first met the present run.
--
-- KEYS: 1 the run: a string "RUN ERA".
-- ARGV: 1 TTL (ms), 2 the value that the worker knows, "" for none.
-- Returns the value, or '' if Redis does not tell its run id. The era is 0 if no earlier run is known.
local function ask(section, field)
  -- A user without the right to INFO gets an error, and some servers do not allow it in scripts.
  local text = redis.pcall('INFO', section)
  return type(text) == 'string' and string.match(text, field .. ':(%w+)') or ''
end

local id = ask('server', 'run_id')
if id == '' then return '' end
local run = id .. '.' .. ask('replication', 'master_replid')

local function read(text)
  if type(text) ~= 'string' then return end
  local its_run, era = string.match(text, '^(%S+) (%d+)$')
  return its_run, tonumber(era)
end

-- Only the beginning is read. A value of another program or type is replaced.
local known, era = read(redis.pcall('GETRANGE', KEYS[1], 0, 199))
if known == run then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
else
  if known then
    local time = redis.call('TIME')
    -- Later than the last era, also if the clock was set back.
    era = math.max(tonumber(time[1]) * 1000000 + tonumber(time[2]), era + 1)
  else
    -- The first worker, or one that meets Redis after all data was lost: then there are no rooms of an earlier run.
    known, era = read(ARGV[2])
    if known ~= run then era = 0 end
  end
  -- A write that takes no memory: after it, Redis accepts the next one although its memory is used up.
  redis.pcall('PEXPIRE', KEYS[1], ARGV[1])
  redis.call('SET', KEYS[1], run .. ' ' .. string.format('%.0f', era), 'PX', ARGV[1])
end
return run .. ' ' .. string.format('%.0f', era)
