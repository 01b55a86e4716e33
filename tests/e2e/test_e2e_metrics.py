"""Every documented metric, one by one, on the ports of the live system."""

import contextlib
import time
from collections.abc import Callable, Iterator

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from coincast_stack.testing import StackHandle

pytestmark = pytest.mark.timeout(600)
SERVICES = ("gateway", "market", "forecast", "training")
MARKET, FORECAST = {"grpc_service": "MarketDataService"}, {"grpc_service": "ForecastService"}
REGISTRY = {"grpc_service": "RegistryService"}

# (documented figure, service, series, required labels)
LIGHTGBM = {"model": "lightgbm"}
EXPECTED: list[tuple[str, str, str, dict[str, str]]] = [
    ("rate and errors at the door", "gateway", "coincast_gateway_requests_total", {"status": "200"}),
    ("errors at the door, by status", "gateway", "coincast_gateway_requests_total", {"status": "404"}),
    ("duration", "gateway", "coincast_gateway_request_duration_seconds_count", {"route": "/prices"}),
    ("RED gateway to market-data", "gateway", "coincast_grpc_client_calls_total", {**MARKET, "code": "OK"}),
    ("RED gateway to market-data", "gateway", "coincast_grpc_client_duration_seconds_count", MARKET),
    ("RED gateway to forecast", "gateway", "coincast_grpc_client_calls_total", {**FORECAST, "code": "OK"}),
    ("RED gateway to forecast", "gateway", "coincast_grpc_client_duration_seconds_count", FORECAST),
    ("RED gateway to training", "gateway", "coincast_grpc_client_calls_total", {**REGISTRY, "code": "OK"}),
    ("RED gateway to training", "gateway", "coincast_grpc_client_duration_seconds_count", REGISTRY),
    ("RED in market-data", "market", "coincast_grpc_server_calls_total", {**MARKET, "code": "OK"}),
    ("errors in market-data", "market", "coincast_grpc_server_calls_total", {**MARKET, "code": "NOT_FOUND"}),
    ("RED in market-data", "market", "coincast_grpc_server_duration_seconds_count", MARKET),
    ("RED in forecast", "forecast", "coincast_grpc_server_calls_total", {**FORECAST, "code": "OK"}),
    ("RED in forecast", "forecast", "coincast_grpc_server_duration_seconds_count", FORECAST),
    ("RED in training", "training", "coincast_grpc_server_calls_total", {**REGISTRY, "code": "OK"}),
    ("RED in training", "training", "coincast_grpc_server_duration_seconds_count", REGISTRY),
    ("RED forecast to market-data", "forecast", "coincast_grpc_client_calls_total", {**MARKET, "code": "OK"}),
    ("RED forecast to market-data", "forecast", "coincast_grpc_client_duration_seconds_count", MARKET),
    ("RED training to market-data", "training", "coincast_grpc_client_calls_total", {**MARKET, "code": "OK"}),
    ("RED training to market-data", "training", "coincast_grpc_client_duration_seconds_count", MARKET),
    ("upstream calls by outcome", "market", "coincast_market_upstream_calls_total", {"outcome": "ok"}),
    ("duration of upstream calls", "market", "coincast_market_upstream_seconds_count", {}),
    ("cache hits", "market", "coincast_market_cache_reads_total", {"layer": "memory", "result": "hit"}),
    ("cache reads in Redis", "market", "coincast_market_cache_reads_total", {"layer": "redis"}),
    ("ready replies at the door", "gateway", "coincast_gateway_requests_total", {"served": "hot"}),
    ("batch saving: requested", "market", "coincast_market_batch_client_calls_total", {}),
    ("batch saving: made", "market", "coincast_market_batch_upstream_calls_total", {}),
    ("batch sizes", "market", "coincast_market_batch_ids_count", {}),
    ("breaker at the upstream", "market", "coincast_market_breaker_state", {}),
    ("breaker to the services behind", "gateway", "coincast_breaker_state", {}),
    ("pool to the upstream", "market", "coincast_market_pool_connections", {"state": "idle"}),
    ("quota left this minute", "market", "coincast_market_quota_left_calls", {}),
    ("quota used this month", "market", "coincast_market_quota_month_used_calls", {}),
    ("quota of the month", "market", "coincast_market_quota_month_limit_calls", {}),
    ("inference time by model", "forecast", "coincast_forecast_inference_seconds_count", LIGHTGBM),
    ("inference batches", "forecast", "coincast_forecast_inference_batch_coins_count", LIGHTGBM),
    ("degraded forecasts by reason", "forecast", "coincast_forecast_degraded_total", {"model": "lstm"}),
    ("age of the model", "forecast", "coincast_forecast_model_created_timestamp_seconds", LIGHTGBM),
    ("age of the artifact", "training", "coincast_training_artifact_age_seconds", LIGHTGBM),
    ("version of the model", "forecast", "coincast_forecast_model_info", {**LIGHTGBM, "alias": "production"}),
    ("ledger lag", "training", "coincast_training_ledger_lag_entries", {}),
    ("ledger lag in time", "training", "coincast_training_ledger_lag_seconds", {}),
    ("lag of risk answers", "training", "coincast_training_risk_lag_entries", {}),
    ("lag of risk answers in time", "training", "coincast_training_risk_lag_seconds", {}),
    ("ledger entries kept", "training", "coincast_training_ledger_stored_total", {}),
    ("ledger entries written", "forecast", "coincast_forecast_ledger_appended_total", {"to": "redis"}),
]  # fmt: skip
ACCURACY: list[tuple[str, dict[str, str]]] = [
    ("coincast_training_live_skill_percent", {**LIGHTGBM, "horizon_days": "7"}),
    ("coincast_training_live_coverage_percent", {**LIGHTGBM, "level_percent": "80"}),
    ("coincast_training_live_coverage_percent", {**LIGHTGBM, "level_percent": "95"}),
]
EVERYWHERE = (
    "coincast_build_info",
    "coincast_serving",
    "coincast_event_loop_lag_seconds_count",
    "coincast_event_loop_tasks",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_open_fds",
    "process_start_time_seconds",
    "python_gc_collections_total",
)
Shown = dict[str, list[tuple[str, dict[str, str], float]]]


def shown(stack: StackHandle, services: tuple[str, ...] = SERVICES) -> Shown:
    """Every sample of the services: name, labels, value."""
    found: Shown = {}
    for name in services:
        text = httpx2.get(stack.stack.metrics_url(name), timeout=30, trust_env=False).text
        families = text_string_to_metric_families(text)
        found[name] = [(s.name, dict(s.labels), s.value) for family in families for s in family.samples]
    return found


def has(samples: Shown, service: str, series: str, labels: dict[str, str]) -> bool:
    """Whether there is such a series, and, where it counts something, whether it has counted."""
    return any(
        name == series
        and labels.items() <= there.items()
        and (value > 0 or not name.endswith(("_total", "_count")))
        for name, there, value in samples[service]
    )


@pytest.fixture(scope="module")
def accuracy(scored_stack: StackHandle) -> Shown:
    until = time.monotonic() + 180
    while True:
        found = shown(scored_stack, ("training",))
        if all(has(found, "training", *expectation) for expectation in ACCURACY) or time.monotonic() > until:
            return found
        time.sleep(0.5)


@pytest.mark.parametrize(("series", "labels"), ACCURACY, ids=[str(p[1]) for p in ACCURACY])
def test_live_skill_and_coverage_are_shown_once_forecasts_came_true(accuracy, series, labels):
    (value,) = [
        v for name, there, v in accuracy["training"] if name == series and labels.items() <= there.items()
    ]
    assert -1000 < value <= 100


@pytest.fixture(scope="module")
def samples(stack: StackHandle, get: Callable[..., httpx2.Response]) -> Iterator[Shown]:
    until = time.monotonic() + 120
    while True:
        for _ in range(3):
            get("/prices", params={"ids": "bitcoin,ethereum", "vs_currencies": "usd"})
        get("/prices", params={"ids": "solana", "vs_currencies": "eur"})
        get("/coins/no-such-coin/history", params={"days": 30})
        for model in ("lightgbm", "lstm"):
            get(
                "/forecasts",
                params={"ids": "bitcoin,ethereum", "days": 1 + int(time.time()) % 30, "model": model},
            )
        get("/models")
        found = shown(stack)
        missing = [expectation for expectation in EXPECTED if not has(found, *expectation[1:])]
        if not missing or time.monotonic() > until:
            break
        time.sleep(1)
    yield found


@pytest.mark.parametrize(
    ("expectation", "service", "series", "labels"), EXPECTED, ids=[f"{p[0]}: {p[2]}" for p in EXPECTED]
)
def test_an_expected_figure_is_shown(samples, expectation, service, series, labels):
    there = [(name, found) for name, found, _ in samples[service] if name == series]
    assert has(samples, service, series, labels), f"{expectation}: {there}"


@pytest.mark.parametrize("series", EVERYWHERE)
@pytest.mark.parametrize("service", SERVICES)
def test_every_process_tells_how_it_does(samples, service, series):
    assert any(name == series for name, _, _ in samples[service])


def test_labels_take_few_values(samples):
    for service, found in samples.items():
        names = [name for name, _, _ in found]
        most = max(names, key=names.count)
        assert names.count(most) < 1000, f"{service}: {most} has {names.count(most)} series"
    for _, labels, _ in (sample for found in samples.values() for sample in found):
        assert not {"bitcoin", "ethereum", "no-such-coin"} & set(labels.values())


def test_latency_of_every_hop_carries_the_trace(stack, get):
    trace = "cd" * 16
    with contextlib.suppress(httpx2.HTTPError):
        get(
            "/coins/solana/history",
            params={"days": 41},
            headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"},
        )
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    for service, series in (
        ("gateway", "coincast_gateway_request_duration_seconds"),
        ("gateway", "coincast_grpc_client_duration_seconds"),
        ("market", "coincast_grpc_server_duration_seconds"),
    ):
        text = httpx2.get(stack.stack.metrics_url(service), headers=accept, timeout=30, trust_env=False).text
        lines = [line for line in text.splitlines() if line.startswith(f"{series}_bucket") and " # {" in line]
        assert any(f'trace_id="{trace}"' in line for line in lines), f"{service}: {lines}"
