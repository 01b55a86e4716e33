-- Takes up to ARGV[3] tokens from a bucket that holds ARGV[1] and fills again within ARGV[2] milliseconds.
-- KEYS[1] keeps the moment at which the bucket will be full again (GCRA), on Redis' own clock.
-- Gives {tokens granted, tokens left, milliseconds until the next token, milliseconds until full}.
local limit, window, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000
local interval = window / limit
local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local room = math.floor((now + window - full_at) / interval + 1e-6)
local granted = math.max(0, math.min(room, wanted))
if granted > 0 then
  full_at = full_at + granted * interval
  redis.call('SET', KEYS[1], string.format('%.3f', full_at), 'PX', math.ceil(full_at - now) + 1)
end
local wait = math.max(0, full_at + interval - now - window)
return {granted, room - granted, math.ceil(wait), math.ceil(full_at - now)}
