"""Summarise the services behind the gateway: status, one sentence, and figures of each."""

from __future__ import annotations

from typing import Any

from coincast.common.v1 import process_pb2
from coincast.forecast.v1 import forecast_pb2
from coincast.market.v1 import market_pb2
from coincast.training.v1 import training_pb2
from coincast_chassis.clock import steady_clock
from coincast_gateway.health.component import Component, assess
from coincast_gateway.serialization import to_dict

# Beyond these a service is degraded: the lag of the forecast log, and the age of a model version.
LEDGER_LAG_SECONDS = 300
MODEL_AGE_DAYS = 45


def upstream_problem(status: market_pb2.GetStatusResponse) -> str:
    """Return why the upstream is unavailable, with the remedy; empty if it is available or not called yet."""
    upstream = status.upstream_status
    return upstream.sentence if upstream.tried and not upstream.available else ""


def market_component(status: market_pb2.GetStatusResponse, process: dict[str, Any]) -> Component:
    """Summarise market-data-svc: upstream, quota, breakers, cache."""
    figures = {**to_dict(status), "cache_hit_rates": hit_rates(status), "process": process}
    problem = upstream_problem(status)
    complaints = [problem] if problem else []
    complaints += [
        f"The breaker {b.name} is {b.state.replace('_', '-')}."
        for b in status.breakers
        if b.state != "closed"
    ]
    if status.quota.HasField("paused_for_seconds"):
        complaints.append(f"The upstream requested a pause of {status.quota.paused_for_seconds:.0f} s.")
    if not status.redis_up:
        complaints.append("Redis does not answer; the cache is kept only in this process.")
        if status.quota.share_note:
            complaints.append(status.quota.share_note)
    source = (
        "the sandbox (not market data)" if status.upstream == "sandbox" else status.upstream or "its upstream"
    )
    return assess(
        "market-data", complaints, f"Takes its data from {source}; every breaker is closed.", figures
    )


def hit_rates(status: market_pb2.GetStatusResponse) -> dict[str, float | None]:
    """Return the share of look-ups that each cache layer answered; None before the first look-up."""
    layers = {layer.layer: (layer.hits, layer.hits + layer.misses) for layer in status.cache_layers}
    return {name: round(hits / lookups, 4) if lookups else None for name, (hits, lookups) in layers.items()}


def forecast_component(status: forecast_pb2.GetStatusResponse, process: dict[str, Any]) -> Component:
    """Summarise forecast-svc: loaded versions with their ages, and refused versions with the reasons."""
    now = steady_clock().now()
    ages = {
        f"{each.model}/{each.version}": round((now - each.created_at.ToSeconds()) / 86400, 2)
        for each in status.loaded
        if each.HasField("created_at")
    }
    figures = {**to_dict(status), "model_age_days": ages, "process": process}
    complaints = [f"Refused {each.model} {each.version}: {each.reason}" for each in status.refused[:3]]
    if not status.market_data_up:
        complaints.append("It cannot reach market data.")
    if not status.loaded:
        complaints.append("No model version is loaded.")
    complaints += [f"{name} is {age:.0f} days old." for name, age in ages.items() if age > MODEL_AGE_DAYS]
    names = ", ".join(sorted({f"{each.model} {each.version}".strip() for each in status.loaded}))
    return assess("forecast", complaints, f"Serves {names}.", figures)


def training_component(status: training_pb2.GetStatusResponse, process: dict[str, Any]) -> Component:
    """Summarise training-svc: queue, drift, forecast log."""
    figures = {**to_dict(status), "process": process}
    complaints = [f"{d.model} has drifted: {'; '.join(d.reasons[:2])}." for d in status.drift if d.drifted]
    if not status.redis_up:
        complaints.append("Redis does not answer; jobs cannot be queued.")
    # An absent lag is 0.
    for name, lag in (
        ("ledger", status.ledger.lag_seconds),
        ("ledger of risk answers", status.ledger.risk_lag_seconds),
    ):
        if lag > LEDGER_LAG_SECONDS:
            complaints.append(f"The {name} is {lag:.0f} s behind.")
    fine = f"{status.running_jobs} jobs run, {status.queued_jobs} wait; no model has drifted."
    return assess("training", complaints, fine, figures)


def process_figures(process: process_pb2.GetProcessResponse) -> dict[str, Any]:
    """Return CPU, memory and disk of a process, rounded for display."""
    return {
        "cpu_percent": round(process.cpu_percent, 1),
        "memory_mb": round(process.memory_bytes / 1e6, 1),
        "threads": process.threads,
        "open_files": process.open_files,
        "uptime_seconds": round(process.uptime_seconds, 1),
        "disk_free_percent": round(100 * process.disk_free_bytes / max(1, process.disk_total_bytes), 1),
        "disk_free_gb": round(process.disk_free_bytes / 1e9, 2),
        "load_per_core": round(process.load_per_core, 2),
    }
