"""Prometheus metrics of the forecast service; label values are bounded: models, causes and kinds."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

INFERENCE_SECONDS = Histogram(
    "coincast_forecast_inference_seconds",
    "Time of one batch through a model, off the event loop.",
    ["model"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
INFERENCE_COINS = Histogram(
    "coincast_forecast_inference_batch_coins",
    "Coins in one batch through a model.",
    ["model"],
    buckets=(1, 2, 5, 10, 25, 50, 100, 250),
)
SERVED = Counter(
    "coincast_forecast_served_total",
    "Coins forecast, by the model that was requested and the one that served.",
    ["model", "served_by"],
)
DEGRADED = Counter(
    "coincast_forecast_degraded_total",
    "Steps of the fallback chain that failed, and histories that were stale, partial or unconfirmed.",
    ["model", "cause"],
)
COIN_ERRORS = Counter(
    "coincast_forecast_coin_errors_total", "Coins that could not be served, by kind of error.", ["kind"]
)
MODEL_CREATED = Gauge(
    "coincast_forecast_model_created_timestamp_seconds",
    "Time at which the loaded version was trained.",
    ["model", "alias"],
)
MODEL_INFO = Gauge(
    "coincast_forecast_model_info", "1 for every loaded version.", ["model", "alias", "version"]
)
SWAPS = Counter("coincast_forecast_swaps_total", "Versions that replaced another.", ["model", "alias"])
REFUSALS = Counter(
    "coincast_forecast_refused_versions_total", "Versions refused at verification.", ["model", "cause"]
)
LOAD_SECONDS = Histogram(
    "coincast_forecast_load_seconds",
    "Time from the discovery of a version until it serves.",
    ["model"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
SHADOWS_DROPPED = Counter(
    "coincast_forecast_shadows_dropped_total", "Shadow forecasts dropped because the queue was full."
)
HISTORY = Counter(
    "coincast_forecast_history_total", "Histories requested, by whether they were cached.", ["outcome"]
)
LEDGER_APPENDED = Counter(
    "coincast_forecast_ledger_appended_total", "Entries written to the forecast log, by destination.", ["to"]
)
LEDGER_LOST = Counter(
    "coincast_forecast_ledger_lost_total", "Entries that neither Redis nor the disk accepted."
)
RISK_NOT_LOGGED = Counter(
    "coincast_forecast_risk_statements_not_logged_total",
    "Served risk statements that were not logged, because of an error or the daily limit.",
)
LEDGER_SPOOLED = Gauge("coincast_forecast_ledger_spooled_entries", "Entries on disk that wait for Redis.")
LEDGER_OLDEST = Gauge(
    "coincast_forecast_ledger_spool_age_seconds", "Age of the oldest entry on disk that waits for Redis."
)
LEDGER_UP = Gauge("coincast_forecast_ledger_redis_up", "1 while Redis accepts ledger entries.")
