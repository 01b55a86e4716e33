"""Metrics of the service. Their labels have a bounded number of values, and their names state the units."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

WATCH_SUBSCRIBERS = Gauge("coincast_market_watch_subscribers", "Open streams of live prices.")
RESTATED = Counter(
    "coincast_market_histories_replaced_total",
    "Stored histories that were replaced by a new fetch of all days.",
)
UPSTREAM_CALLS = Counter(
    "coincast_market_upstream_calls_total",
    "Calls to the upstream by endpoint group and outcome.",
    ["group", "outcome"],
)
UPSTREAM_SECONDS = Histogram(
    "coincast_market_upstream_seconds",
    "Duration of calls to the upstream.",
    ["group"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
RETRIES = Counter(
    "coincast_market_upstream_retries_total", "Second and further attempts of a call.", ["group"]
)
BREAKER_STATE = Gauge("coincast_market_breaker_state", "0 closed, 1 half-open, 2 open.", ["breaker"])
BREAKER_TRANSITIONS = Counter(
    "coincast_market_breaker_transitions_total",
    "Changes of a breaker's state, with the kind of the last failure.",
    ["breaker", "to", "reason"],
)
POOL_CONNECTIONS = Gauge("coincast_market_pool_connections", "Connections to the upstream.", ["state"])
QUOTA_LEFT = Gauge("coincast_market_quota_left_calls", "Calls left in this minute, as last seen.")
QUOTA_MONTH_USED = Gauge("coincast_market_quota_month_used_calls", "Calls used this month, as last seen.")
QUOTA_LIMIT = Gauge("coincast_market_quota_limit_calls", "Calls a minute, as lowered after refusals.")
QUOTA_MONTH_LIMIT = Gauge("coincast_market_quota_month_limit_calls", "Calls a month; 0 is no limit.")
QUOTA_PAUSED = Gauge(
    "coincast_market_quota_paused_seconds", "Time left of a pause that the upstream requested."
)
REDIS_UP = Gauge("coincast_market_redis_up", "1 while the shared Redis answers.")
QUOTA_REFUSALS = Counter(
    "coincast_market_quota_refusals_total", "Calls that the rate limiter did not admit in time.", ["priority"]
)
QUOTA_PAUSES = Counter("coincast_market_quota_pauses_total", "Times the upstream answered 429.")
CACHE_READS = Counter(
    "coincast_market_cache_reads_total", "Look-ups by layer and result.", ["layer", "result"]
)
CACHE_SERVED = Counter(
    "coincast_market_cache_served_total", "Items served, by kind and freshness.", ["kind", "freshness"]
)
REDIS_ERRORS = Counter(
    "coincast_market_redis_errors_total", "Commands that Redis did not answer.", ["operation", "reason"]
)
SHARED_FETCHES = Counter(
    "coincast_market_shared_fetches_total",
    "Keys that another replica was fetching: found at once, waited for, or given up and fetched here.",
    ["outcome"],
)
BATCH_CLIENT_CALLS = Counter(
    "coincast_market_batch_client_calls_total", "Calls for prices that needed the upstream."
)
BATCH_UPSTREAM_CALLS = Counter(
    "coincast_market_batch_upstream_calls_total", "Upstream calls made for batches of prices."
)
BATCH_SAVED_CALLS = Gauge(
    "coincast_market_batch_saved_calls", "Calls for prices that shared the upstream call of another one."
)
BATCH_IDS = Histogram(
    "coincast_market_batch_ids", "Ids in one upstream call.", buckets=(1, 2, 5, 10, 25, 50, 100, 250)
)
BATCH_WAIT_SECONDS = Histogram(
    "coincast_market_batch_wait_seconds",
    "Time from the first caller's arrival to the batch's departure.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5),
)
QUARANTINED = Counter(
    "coincast_market_quarantined_total",
    "Data points that were rejected, neither served nor stored.",
    ["reason"],
)
ARCHIVE_CANDLES = Gauge("coincast_market_archive_candles", "Daily candles in the archive.")
ARCHIVE_COINS = Gauge("coincast_market_archive_coins", "Coins in the archive.")
ARCHIVE_WRITES = Counter(
    "coincast_market_archive_writes_total", "Writes of archive files, by outcome.", ["outcome"]
)
REFRESHED = Counter(
    "coincast_market_refreshed_pairs_total", "Popular prices that were fetched before they became stale."
)
SERVED_AGE_SECONDS = Histogram(
    "coincast_market_served_age_seconds",
    "Age of served prices.",
    buckets=(1, 5, 15, 30, 60, 120, 300, 900, 3600, 86_400),
)
