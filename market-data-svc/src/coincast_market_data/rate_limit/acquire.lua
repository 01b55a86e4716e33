-- The rules of `QuotaWindow` in limiter.py by the clock of Redis, atomically for all replicas.
-- KEYS: 1 sorted set of the calls in the last window, 2 hash of state, 3 sorted set of replicas by the time of their
--       last command, 4 hash from replica to its reserve: the calls that it may grant itself if it loses this Redis
-- ARGV: 1 command (ask, look, leave), 2 calls a minute, 3 calls a month (0 none), 4 share of the minute,
--       5 share of the month, 6 window ms, 7 recovery ms, 8 a unique member (ask),
--       9 the replica's name, 10 its current reserve, 11 the minimum number of replicas,
--       12 when this Redis began to count, as the replica knows it (empty: not known), 13 calls this month as the
--       replica knows them, 14 calls that the replica granted itself before the window, 15 ms left of the pause that
--       the replica knows, 16 refusals of the upstream that are not reported yet, 17... triples of (age in ms,
--       member, 1 if the count of the month does not include it): calls that this Redis must count. A negative age
--       is a call that was not made, although this script may have granted it.
-- Returns: granted, wait in ms, used in the window, current limit, used this month, pause in ms, replicas of the last
--          window, the new reserve of the replica, when this Redis began to count, whether it grants calls (settled)
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local calls, state, replicas, reserves = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local per_minute, per_month = tonumber(ARGV[2]), tonumber(ARGV[3])
local window, recovery, me = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[9]
-- Wait before a retry if only the reserves of other replicas prevent a grant; each shrinks at its replica's next command.
local HELD_WAIT_MS = 200
-- Within this time every replica notices that Redis is back and has sent it a command.
local SETTLING_MS = 4000
-- A replica that sent no command for this long may have granted more than its reserve (SLOW_SECONDS of
-- local_fallback.py, less the time that a command is in transit).
local SILENCE_MS = 4000
-- The maximum time in transit of a command; see its use below.
local TRANSIT_MS = 1000

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

-- Count a member once, however often it is reported: a replica reports again if the reply was lost.
local function count(at, member, in_month)
  if redis.call('ZADD', calls, at, member) == 1 then
    redis.call('HINCRBY', state, 'month_used', in_month)
  end
end

redis.call('ZREMRANGEBYSCORE', calls, '-inf', now - window)
local month = month_of(now)
if field('month', 0) ~= month then
  redis.call('HSET', state, 'month', month, 'month_used', 0)
end

-- After a restart without data, the replicas that used the earlier Redis report their calls again. Until all have had
-- time to do so, each spends its earlier reserve.
local born = redis.call('HGET', state, 'born')
if not born then
  born = string.format('%.0f', now)
  redis.call('HSET', state, 'born', born)
end
if ARGV[12] ~= '' and ARGV[12] ~= born then
  redis.call('HSETNX', state, 'settles_at', string.format('%.0f', tonumber(born) + SETTLING_MS))
  redis.call('HSET', state, 'month_used', math.max(field('month_used', 0), tonumber(ARGV[13])))
end
-- A replica that was cut off from this same Redis is connected again. Others may be about to reconnect; their reports
-- must arrive before calls are granted.
local last_seen = redis.call('ZSCORE', replicas, me)
if ARGV[12] == born and (not last_seen or now - last_seen > SILENCE_MS) then
  redis.call('HSET', state, 'settles_at', string.format('%.0f', now + SETTLING_MS))
end
local settled = now >= field('settles_at', 0)

redis.call('HINCRBY', state, 'month_used', tonumber(ARGV[14]))
for index = 17, #ARGV, 3 do
  local age, member = tonumber(ARGV[index]), ARGV[index + 1]
  if age < 0 then
    redis.call('HINCRBY', state, 'month_used', -redis.call('ZREM', calls, member))
  else
    count(now - age, member, tonumber(ARGV[index + 2]))
  end
end

for _, gone in ipairs(redis.call('ZRANGEBYSCORE', replicas, '-inf', now - window)) do
  redis.call('HDEL', reserves, gone)
end
redis.call('ZREMRANGEBYSCORE', replicas, '-inf', now - window)
if ARGV[1] == 'leave' then
  redis.call('ZREM', replicas, me)
  redis.call('HDEL', reserves, me)
else
  redis.call('ZADD', replicas, now, me)
end
local seen = math.max(tonumber(ARGV[11]), redis.call('ZCARD', replicas))
local held = 0
local each = redis.call('HGETALL', reserves)
for index = 1, #each, 2 do
  if each[index] ~= me then
    held = held + tonumber(each[index + 1])
  end
end

local factor = math.min(1, field('factor', 1) + math.max(0, now - field('factor_at', 0)) / recovery)
local paused = math.max(0, field('paused_until', 0) - now)
local reported, refusals = tonumber(ARGV[15]), tonumber(ARGV[16])
-- Each replica reports its known pause with every command, since this Redis may not have it. TRANSIT_MS is subtracted
-- because the time in transit would otherwise extend a known pause with every report.
if reported > paused + TRANSIT_MS or (refusals > 0 and reported > paused) then
  redis.call('HSET', state, 'paused_until', string.format('%.0f', now + reported))
end
paused = math.max(paused, reported)
if refusals > 0 then
  factor = math.max(factor / 2 ^ refusals, 1 / per_minute)
  redis.call('HSET', state, 'factor', tostring(factor), 'factor_at', string.format('%.0f', now))
end

local limit = math.max(1, math.floor(per_minute * factor + 1e-9))
local allowed = math.floor(limit * tonumber(ARGV[4]) + 1e-9)
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
elseif paused == 0 and used + held >= allowed then
  wait = HELD_WAIT_MS
end

local granted = 0
if wait <= 0 and settled then
  granted = 1
  if ARGV[1] == 'ask' then
    count(now, ARGV[8], 1)
  end
end

-- The remaining calls are available to all replicas, except that half of an equal share is reserved for each replica
-- in case it loses Redis. The earlier reserve counts until the replica confirms the new one.
local reserve = 0
if ARGV[1] ~= 'leave' and settled then
  local left = math.max(0, limit - redis.call('ZCARD', calls) - held)
  reserve = math.floor(left / (2 * seen))
  if reserve == 0 and left >= seen then
    reserve = 1
  end
end
if ARGV[1] ~= 'leave' then
  redis.call('HSET', reserves, me, math.max(reserve, tonumber(ARGV[10])))
end

redis.call('PEXPIRE', calls, window * 2)
redis.call('PEXPIRE', replicas, window * 2)
redis.call('PEXPIRE', reserves, window * 2)
redis.call('PEXPIRE', state, 35 * 86400000)
return {granted, math.ceil(wait), used, limit, month_used, math.ceil(paused), seen, reserve, born, settled and 1 or 0}
