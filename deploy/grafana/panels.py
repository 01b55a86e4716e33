"""Dashboards as data: one list of panels for each dashboard, each with its queries and unit."""

from __future__ import annotations

from dataclasses import dataclass

RATE = "$__rate_interval"


@dataclass(frozen=True)
class Panel:
    """A panel: its title, its queries with their legends, Grafana's name of the unit, its kind and a note."""

    title: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    kind: str = "timeseries"
    text: str = ""


@dataclass(frozen=True)
class Dashboard:
    """A dashboard: the name of its file, its title and its panels.

    `by_instance` adds variables by which service and instance are selected.
    """

    name: str
    title: str
    panels: tuple[Panel, ...]
    by_instance: bool = False


def one(
    title: str, query: str, legend: str, unit: str = "short", *, kind: str = "timeseries", text: str = ""
) -> Panel:
    """Return a panel with a single query; the other arguments are the fields of Panel."""
    return Panel(title, ((query, legend),), unit, kind, text)


def rate(metric: str, by: str, match: str = "") -> str:
    """Return the query for the events per second of a counter.

    Args:
        metric: The counter.
        by: The labels to group by, with commas.
        match: Conditions on labels.
    """
    return f"sum by ({by}) (rate({metric}{{{match}}}[{RATE}]))"


def quantile(share: float, metric: str, by: str, match: str = "") -> str:
    """Return the query for a quantile of a histogram.

    Args:
        share: The probability of the quantile, 0 to 1.
        metric: The histogram.
        by: The labels to group by, with commas.
        match: Conditions on labels.
    """
    return f"histogram_quantile({share}, sum by ({by}, le) (rate({metric}_bucket{{{match}}}[{RATE}])))"


OVERVIEW = Dashboard(
    "overview",
    "Coincast: overview",
    (
        one("Replicas that answer", 'sum by (service) (up{service!=""})', "{{service}}", kind="stat"),
        one("Alerts firing", 'count(ALERTS{alertstate="firing"}) or vector(0)', "alerts", kind="stat"),
        one(
            "Requests that failed, last hour",
            '(sum(rate(coincast_gateway_requests_total{status=~"5.."}[1h])) or vector(0))'
            " / sum(rate(coincast_gateway_requests_total[1h]))",
            "5xx",
            "percentunit",
            kind="stat",
            text="The objective is less than 0.5 %.",
        ),
        one(
            "Models loaded",
            'count by (model) (coincast_forecast_model_info{alias="production"} == 1)',
            "{{model}}",
            kind="stat",
        ),
        one("Requests by route", rate("coincast_gateway_requests_total", "route"), "{{route}}", "reqps"),
        one("Requests by status", rate("coincast_gateway_requests_total", "status"), "{{status}}", "reqps"),
        Panel(
            "Latency",
            tuple(
                (quantile(share, "coincast_gateway_request_duration_seconds", "job"), f"p{share * 100:g}")
                for share in (0.5, 0.95, 0.99)
            ),
            "s",
        ),
        one(
            "Latency by route, p95",
            quantile(0.95, "coincast_gateway_request_duration_seconds", "route"),
            "{{route}}",
            "s",
        ),
        one(
            "gRPC calls between services",
            rate("coincast_grpc_server_calls_total", "grpc_service, method"),
            "{{grpc_service}}/{{method}}",
            "reqps",
        ),
        one(
            "gRPC latency, p95",
            quantile(0.95, "coincast_grpc_server_duration_seconds", "grpc_service, method"),
            "{{grpc_service}}/{{method}}",
            "s",
        ),
        one(
            "Breakers of the gateway",
            "max by (breaker) (coincast_breaker_state)",
            "{{breaker}}",
            text="0 closed, 1 half-open, 2 open.",
        ),
        one("Requests in flight", "sum(coincast_gateway_requests_in_flight)", "in flight"),
    ),
)
MARKET = Dashboard(
    "market-data",
    "Coincast: market data",
    (
        one(
            "Calls to CoinGecko by outcome",
            rate("coincast_market_upstream_calls_total", "outcome"),
            "{{outcome}}",
            "reqps",
        ),
        one(
            "Calls to CoinGecko by group",
            rate("coincast_market_upstream_calls_total", "group"),
            "{{group}}",
            "reqps",
        ),
        one(
            "Duration of calls, p95",
            quantile(0.95, "coincast_market_upstream_seconds", "group"),
            "{{group}}",
            "s",
        ),
        one(
            "Cache hits by layer",
            f'sum by (layer) (rate(coincast_market_cache_reads_total{{result="hit"}}[{RATE}]))'
            f" / sum by (layer) (rate(coincast_market_cache_reads_total[{RATE}]))",
            "{{layer}}",
            "percentunit",
        ),
        one(
            "Served by freshness",
            rate("coincast_market_cache_served_total", "freshness"),
            "{{freshness}}",
            "ops",
        ),
        one(
            "Age of served prices, p95",
            quantile(0.95, "coincast_market_served_age_seconds", "job"),
            "p95",
            "s",
        ),
        Panel(
            "Calls of clients and the calls they cost",
            (
                (f"sum(rate(coincast_market_batch_client_calls_total[{RATE}]))", "of clients"),
                (f"sum(rate(coincast_market_batch_upstream_calls_total[{RATE}]))", "to CoinGecko"),
            ),
            "reqps",
        ),
        one("Ids in a batch, median", quantile(0.5, "coincast_market_batch_ids", "job"), "ids"),
        Panel(
            "Quota, calls a minute",
            (
                ("max(coincast_market_quota_left_calls)", "left"),
                ("max(coincast_market_quota_limit_calls)", "limit"),
            ),
        ),
        Panel(
            "Quota, calls a month",
            (
                ("max(coincast_market_quota_month_used_calls)", "used"),
                ("max(coincast_market_quota_month_limit_calls)", "limit (0: none)"),
            ),
        ),
        one(
            "Breakers",
            "max by (breaker) (coincast_market_breaker_state)",
            "{{breaker}}",
            text="0 closed, 1 half-open, 2 open.",
        ),
        one("Connections to CoinGecko", "sum by (state) (coincast_market_pool_connections)", "{{state}}"),
        Panel(
            "Archive",
            (
                ("max(coincast_market_archive_candles)", "candles"),
                ("max(coincast_market_archive_coins)", "coins"),
            ),
        ),
        one("Redis answers", "min(coincast_market_redis_up)", "up", kind="stat"),
    ),
)
FORECASTS = Dashboard(
    "forecasts",
    "Coincast: forecasts and accuracy",
    (
        one(
            "Forecasts by who served",
            rate("coincast_forecast_served_total", "model, served_by"),
            "{{model}} by {{served_by}}",
            "ops",
        ),
        one(
            "Steps that failed, by cause",
            f"{rate('coincast_forecast_degraded_total', 'model, cause')} or vector(0)",
            "{{model}}: {{cause}}",
            "ops",
        ),
        one(
            "Inference, p95", quantile(0.95, "coincast_forecast_inference_seconds", "model"), "{{model}}", "s"
        ),
        one(
            "Coins in a batch, median",
            quantile(0.5, "coincast_forecast_inference_batch_coins", "model"),
            "{{model}}",
        ),
        one(
            "Age of the models",
            "time() - max by (model, alias) (coincast_forecast_model_created_timestamp_seconds)",
            "{{model}} {{alias}}",
            "s",
            kind="stat",
        ),
        one(
            "Versions loaded",
            "max by (model, alias, version) (coincast_forecast_model_info)",
            "{{model}} {{alias}} {{version}}",
            kind="stat",
        ),
        one(
            "Live skill against the last price",
            "coincast_training_live_skill_percent",
            "{{model}} {{horizon_days}} d",
            "percent",
        ),
        one(
            "Live coverage",
            "coincast_training_live_coverage_percent",
            "{{model}} {{horizon_days}} d, {{level_percent}} %",
            "percent",
            text="A calibrated 80 % interval lies at 80. Empty below 100 forecasts or 20 days.",
        ),
        one("Histories by outcome", rate("coincast_forecast_history_total", "outcome"), "{{outcome}}", "ops"),
        one("Ledger entries", rate("coincast_forecast_ledger_appended_total", "to"), "{{to}}", "ops"),
        one("Entries waiting on disk", "sum(coincast_forecast_ledger_spooled_entries)", "entries"),
        one("Entries not on disk yet", "max(coincast_training_ledger_lag_entries)", "entries"),
        one("Oldest entry not on disk yet", "max(coincast_training_ledger_lag_seconds)", "age", unit="s"),
        one("Risk answers not on disk yet", "max(coincast_training_risk_lag_entries)", "entries"),
        one("Oldest risk answer not on disk yet", "max(coincast_training_risk_lag_seconds)", "age", unit="s"),
    ),
)
TRAINING = Dashboard(
    "training",
    "Coincast: training",
    (
        one(
            "Jobs that ended",
            "sum by (model, outcome) (coincast_training_jobs_total)",
            "{{model}} {{outcome}}",
            kind="stat",
        ),
        Panel(
            "Jobs",
            (
                ("sum(coincast_training_jobs_queued)", "waiting"),
                ("sum(coincast_training_jobs_running)", "running"),
            ),
        ),
        one(
            "Duration of jobs, mean",
            "sum by (model) (coincast_training_job_seconds_sum)"
            " / sum by (model) (coincast_training_job_seconds_count)",
            "{{model}}",
            "s",
        ),
        one(
            "Since the last success",
            "time() - max by (model) (coincast_training_last_success_timestamp_seconds)",
            "{{model}}",
            "s",
            kind="stat",
        ),
        one(
            "Drift over its bound",
            "coincast_training_drift_score",
            "{{model}} {{check}}",
            text="1 and above is a breach.",
        ),
        Panel(
            "Ledger",
            (
                (f"sum(rate(coincast_training_ledger_stored_total[{RATE}]))", "stored"),
                (f"sum(rate(coincast_training_ledger_scored_total[{RATE}]))", "scored"),
            ),
            "ops",
        ),
        one("Free disk", "min by (folder) (coincast_disk_free_bytes)", "{{folder}}", "bytes"),
    ),
)
WHERE = 'service=~"$service", instance=~"$instance"'
SERVICE = Dashboard(
    "service",
    "Coincast: one service",
    (
        one("Version", f"coincast_build_info{{{WHERE}}}", "{{service}} {{version}}", kind="stat"),
        one(
            "Up since",
            f"time() - process_start_time_seconds{{{WHERE}}}",
            "{{service}} {{instance}}",
            "s",
            kind="stat",
        ),
        one(
            "CPU",
            f"rate(process_cpu_seconds_total{{{WHERE}}}[{RATE}])",
            "{{service}} {{instance}}",
            "percentunit",
        ),
        one("Memory", f"process_resident_memory_bytes{{{WHERE}}}", "{{service}} {{instance}}", "bytes"),
        one("Open file descriptors", f"process_open_fds{{{WHERE}}}", "{{service}} {{instance}}"),
        one("Tasks of the event loop", f"coincast_event_loop_tasks{{{WHERE}}}", "{{service}} {{instance}}"),
        one(
            "Lag of the event loop, p99",
            quantile(0.99, "coincast_event_loop_lag_seconds", "service, instance", WHERE),
            "{{service}} {{instance}}",
            "s",
        ),
        one(
            "gRPC calls answered",
            rate("coincast_grpc_server_calls_total", "method, code", WHERE),
            "{{method}} {{code}}",
            "reqps",
        ),
        one(
            "gRPC calls made",
            rate("coincast_grpc_client_calls_total", "grpc_service, method, code", WHERE),
            "{{method}} {{code}}",
            "reqps",
        ),
        one(
            "Garbage collections",
            f"rate(python_gc_collections_total{{{WHERE}}}[{RATE}])",
            "{{instance}} generation {{generation}}",
            "ops",
        ),
    ),
    by_instance=True,
)
DASHBOARDS = (OVERVIEW, MARKET, FORECASTS, TRAINING, SERVICE)
