"""Liveness, readiness, and the status of each component."""

from __future__ import annotations

import os
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest, multiprocess

from coincast_gateway.auth.authenticator import READ
from coincast_gateway.cache.response_cache import cached
from coincast_gateway.dependencies import Health
from coincast_gateway.errors.problems import ALWAYS, STARTING, problem_responses
from coincast_gateway.rendering import RenderedResponse, render_json
from coincast_gateway.schemas.requests.health import ComponentName, TrendsQuery
from coincast_gateway.schemas.responses import health as schemas
from coincast_gateway.serialization import iso_seconds

router = APIRouter(tags=["health"], responses=problem_responses(*ALWAYS))


@router.get(
    "/health", operation_id="health", summary="Whether the gateway is alive", response_model=schemas.Live
)
async def get_liveness(health: Health) -> RenderedResponse:
    """Return 200 as long as the process answers."""
    upstream = await health.upstream_problem()
    return render_json({"status": "alive", "version": health.version, "upstream": upstream})


@router.get(
    "/health/ready",
    operation_id="health_ready",
    summary="Whether a forecast can be served",
    response_model=schemas.Ready,
    responses=problem_responses(*ALWAYS, STARTING),
)
async def get_readiness(health: Health) -> RenderedResponse:
    """Return 200 once a forecast can be served, 503 before and during shutdown."""
    return render_json({"status": "ready", "checks": await health.ready()})


@router.get(
    "/health/detailed",
    operation_id="health_detailed",
    summary="Status, sentence and figures of every component",
    response_model=schemas.Detailed,
    dependencies=[READ],
)
@cached(seconds=1.0)
async def get_details(health: Health) -> RenderedResponse:
    """Return the status of every component, within a second even if all of them hang."""
    return render_json(await health.collector.document(), fresh_seconds=1.0)


@router.get(
    "/health/trends",
    operation_id="health_trends",
    summary="Health over the last hours, with gaps where nothing was recorded",
    response_model=schemas.Trends,
    dependencies=[READ],
)
@cached(seconds=5.0)
async def get_trends(query: Annotated[TrendsQuery, Query()], health: Health) -> RenderedResponse:
    """Return samples of the last hours on a regular grid."""
    return render_json(trends_document(await health.trends.read(query.hours)), fresh_seconds=5.0)


def trends_document(trends: dict[str, Any]) -> dict[str, Any]:
    """Return trends with their times as RFC 3339; inside the gateway they are UNIX seconds."""
    points = [
        {"at": iso_seconds(each["at"]), "sample": each["sample"] and _with_iso_time(each["sample"])}
        for each in trends["points"]
    ]
    gaps = [{"from": iso_seconds(each["from"]), "to": iso_seconds(each["to"])} for each in trends["gaps"]]
    return {**trends, "points": points, "gaps": gaps}


def _with_iso_time(sample: dict[str, Any]) -> dict[str, Any]:
    return {**sample, "at": iso_seconds(sample["at"])}


@router.get(
    "/health/components/{name}",
    operation_id="health_component",
    summary="One component of the system",
    response_model=schemas.Component,
    dependencies=[READ],
)
@cached(seconds=1.0)
async def get_component(name: Annotated[ComponentName, Path()], health: Health) -> RenderedResponse:
    """Return the status of one component."""
    components = await health.collector.components()
    found = next(each for each in components if each.name == name)
    return render_json(found.document(), fresh_seconds=1.0)


@router.get(
    "/metrics",
    operation_id="metrics",
    summary="Metrics for Prometheus",
    response_class=PlainTextResponse,
    dependencies=[READ],
)
async def get_metrics() -> RenderedResponse:
    """Return the metrics of this process, or of all workers together."""
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # the library has no types
    return RenderedResponse(generate_latest(registry), CONTENT_TYPE_LATEST)
