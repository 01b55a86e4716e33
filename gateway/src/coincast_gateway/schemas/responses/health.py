"""Responses about health."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from coincast_gateway.schemas.responses.common import ResponseModel


class Live(ResponseModel):
    """The process answers."""

    status: Literal["alive"]
    version: str
    upstream: str | None = Field(
        None,
        description="Why CoinGecko is unavailable, as last known, with the remedy; null if it is available.",
    )


class Check(ResponseModel):
    """One condition of readiness."""

    name: str
    ready: bool
    reason: str


class Ready(ResponseModel):
    """The gateway is ready: forecasts can be served."""

    status: Literal["ready"]
    checks: list[Check]


class Component(ResponseModel):
    """One component of the system."""

    name: Literal["gateway", "market-data", "forecast", "training", "redis"]
    status: Literal["ok", "degraded", "down"]
    since: str | None = Field(
        description="Since when it is not ok, as seen by this worker, RFC 3339, UTC; null if it is ok.",
    )
    sentence: str = Field(description="The status in words.")
    figures: dict[str, Any] = Field(description="The figures of the component; empty if it does not answer.")


class Detailed(ResponseModel):
    """The status of the whole system and of its components."""

    status: Literal["ok", "degraded", "down"]
    sentence: str
    checked_at: str
    components: list[Component]


class Sample(ResponseModel):
    """Means over one span of time; for latencies, errors, CPU and memory the highest value.

    With several workers the gateway's own figures are those of the worker that wrote last.
    """

    at: str = Field(description="The time of the last reading in the span, RFC 3339, UTC.")
    samples: int = Field(description="Readings in the span.")
    requests_per_second: float | None
    server_error_share: float | None
    hot_hit_rate: float | None
    cpu_percent: float | None
    memory_mb: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    statuses: dict[str, Literal["ok", "degraded", "down"]]


class TrendPoint(ResponseModel):
    """One step of the grid."""

    at: str = Field(description="Start of the step, RFC 3339, UTC.")
    sample: Sample | None = Field(description="Null where nothing was sampled.")


class Gap(ResponseModel):
    """A span without samples."""

    from_: str = Field(
        alias="from",
        description="Start of the first step without a sample, RFC 3339, UTC.",
        json_schema_extra={"format": "date-time"},
    )
    to: str = Field(
        description="End of the last step without a sample, RFC 3339, UTC.",
        json_schema_extra={"format": "date-time"},
    )


class Trends(ResponseModel):
    """A regular grid over the last hours."""

    hours: float
    step_seconds: int
    points: list[TrendPoint]
    gaps: list[Gap]
