-- Grants up to ARGV[4] requests of a sliding window. Requests are counted in intervals of equal length ("grains")
-- by the clock of Redis.
-- KEYS: 1 hash from grain to requests
--       2 epoch of this Redis: an id that is created with the first request, so it differs after a loss of all data
--       3 exists while a Redis that lost its data waits for the counts of all processes
-- ARGV: 1 limit, 2 window in ms, 3 grain in ms
--       4 requests wanted (0: only report)
--       5 the epoch that the process knows (empty: none)
--       6 ms for which a Redis that lost its data waits for the counts of all processes
--       7... pairs of (age in ms, requests to count); a negative number takes back requests that were granted and not
--       made
-- Returns {granted, left, ms until the next one is free, ms until all are free, state, epoch}
--       state 0: counted; 1: the process must report its counts first, since this Redis does not have them;
--       2: other processes may have to report, so nothing is granted yet
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local limit, window, grain, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local known, settle = ARGV[5], tonumber(ARGV[6])

local epoch = redis.call('GET', KEYS[2])
if not epoch then
  epoch = time[1] .. '.' .. time[2]
  redis.call('SET', KEYS[2], epoch)
end
if known ~= '' and known ~= epoch then
  redis.call('SET', KEYS[3], '1', 'NX', 'PX', settle)
  return {0, 0, 0, 0, 1, epoch}
end

for index = 7, #ARGV, 2 do
  local bucket, count = math.floor((now - tonumber(ARGV[index])) / grain), tonumber(ARGV[index + 1])
  if count >= 0 then
    redis.call('HINCRBY', KEYS[1], string.format('%.0f', bucket), count)
  else
    -- Grains of the process and of Redis begin at different moments, so the requests to take back may have been
    -- counted in a neighbouring grain.
    for _, offset in ipairs({0, -1, 1, -2}) do
      local name = string.format('%.0f', bucket + offset)
      local part = math.min(-count, tonumber(redis.call('HGET', KEYS[1], name) or 0))
      if part > 0 then
        redis.call('HINCRBY', KEYS[1], name, -part)
        count = count + part
      end
    end
  end
end

-- A grain counts as long as any part of it lies in the window.
local used, buckets = 0, {}
local flat = redis.call('HGETALL', KEYS[1])
for index = 1, #flat, 2 do
  local bucket, count = tonumber(flat[index]), tonumber(flat[index + 1])
  if (bucket + 1) * grain <= now - window or count <= 0 then
    redis.call('HDEL', KEYS[1], flat[index])
  else
    used = used + count
    buckets[#buckets + 1] = {bucket, count}
  end
end

local settling = redis.call('EXISTS', KEYS[3]) == 1
local room = math.max(0, limit - used)
local granted = settling and 0 or math.min(room, wanted)
if granted > 0 then
  local bucket = math.floor(now / grain)
  redis.call('HINCRBY', KEYS[1], string.format('%.0f', bucket), granted)
  buckets[#buckets + 1] = {bucket, granted}
  used = used + granted
end
redis.call('PEXPIRE', KEYS[1], window + 2 * grain)

local wait, full = 0, 0
if #buckets > 0 then
  table.sort(buckets, function(a, b) return a[1] < b[1] end)
  local freed, needed = 0, used - limit + 1
  for _, part in ipairs(buckets) do
    freed, full = freed + part[2], (part[1] + 1) * grain + window - now
    if wait == 0 and needed > 0 and freed >= needed then
      wait = full
    end
  end
end
return {granted, math.max(0, limit - used), math.ceil(wait), math.ceil(full), settling and 2 or 0, epoch}
