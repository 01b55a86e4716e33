-- The rule of quota/window.py on Redis' own clock, atomic for all replicas.
-- KEYS: 1 sorted set of calls in the last window, 2 hash of state, 3 sorted set of replicas by when last seen
-- ARGV: 1 what (ask, look, refused), 2 calls a minute, 3 calls a month (0 none), 4 share of the minute, 5 share of the
--       month, 6 window ms, 7 recovery ms, 8 retry-after ms (refused) or a unique member (ask), 9 the replica's name,
--       10... ages in ms of calls that the replica granted itself while it did not reach this Redis
-- Returns: granted, wait ms, used in the window, limit now, used this month, paused ms, replicas seen in the window
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local calls, state = KEYS[1], KEYS[2]
local per_minute, per_month = tonumber(ARGV[2]), tonumber(ARGV[3])
local window, recovery = tonumber(ARGV[6]), tonumber(ARGV[7])

local function field(name, default)
  return tonumber(redis.call('HGET', state, name) or default) or default
end

-- Days since 1970 to year * 100 + month (the civil calendar).
local function month_of(ms)
  local z = math.floor(ms / 86400000) + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local month = mp < 10 and mp + 3 or mp - 9
  return (yoe + era * 400 + (month <= 2 and 1 or 0)) * 100 + month
end

redis.call('ZREMRANGEBYSCORE', calls, '-inf', now - window)
local month = month_of(now)
if field('month', 0) ~= month then
  redis.call('HSET', state, 'month', month, 'month_used', 0)
end

for index = 10, #ARGV do
  local at = now - tonumber(ARGV[index])
  if at > now - window then
    redis.call('ZADD', calls, at, ARGV[9] .. ':' .. index .. ':' .. now)
  end
  redis.call('HINCRBY', state, 'month_used', 1)
end
redis.call('ZADD', KEYS[3], now, ARGV[9])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - window)

local factor = math.min(1, field('factor', 1) + math.max(0, now - field('factor_at', 0)) / recovery)
if ARGV[1] == 'refused' then
  local until_ms = math.max(field('paused_until', 0), now + tonumber(ARGV[8]))
  factor = math.max(factor / 2, 1 / per_minute)
  redis.call('HSET', state, 'paused_until', string.format('%.0f', until_ms), 'factor', tostring(factor),
             'factor_at', string.format('%.0f', now))
end

local limit = math.max(1, math.floor(per_minute * factor + 1e-9))
local allowed = math.floor(limit * tonumber(ARGV[4]) + 1e-9)
local paused = math.max(0, field('paused_until', 0) - now)
local used, month_used = redis.call('ZCARD', calls), field('month_used', 0)
local wait = paused
if paused == 0 and per_month > 0 and month_used >= math.floor(per_month * tonumber(ARGV[5]) + 1e-9) then
  wait = 3600000
elseif paused == 0 and used >= allowed then
  if allowed < 1 then
    wait = window
  else
    local oldest = redis.call('ZRANGE', calls, used - allowed, used - allowed, 'WITHSCORES')
    wait = math.max(1, tonumber(oldest[2]) + window - now)
  end
end

local granted = 0
if wait <= 0 then
  granted = 1
  if ARGV[1] == 'ask' then
    redis.call('ZADD', calls, now, ARGV[8])
    redis.call('HINCRBY', state, 'month_used', 1)
  end
end
redis.call('PEXPIRE', calls, window * 2)
redis.call('PEXPIRE', KEYS[3], window * 2)
redis.call('PEXPIRE', state, 35 * 86400000)
return {granted, math.ceil(wait), used, limit, month_used, math.ceil(paused), redis.call('ZCARD', KEYS[3])}
