"""Shapes of health replies."""

from typing import Any, Literal

from pydantic import Field

from coincast_gateway.models.common import Shape


class Live(Shape):
    """The process answers."""

    status: Literal["alive"]
    version: str


class Check(Shape):
    """One thing that must hold before the gateway is ready."""

    name: str
    ready: bool
    reason: str


class Ready(Shape):
    """Everything that a forecast needs is there."""

    status: Literal["ready"]
    checks: list[Check]


class Component(Shape):
    """One part of the system."""

    name: Literal["gateway", "market-data", "forecast", "training", "redis"]
    status: Literal["ok", "degraded", "down"]
    sentence: str = Field(description="What a person needs to know.")
    figures: dict[str, Any] = Field(
        description="The figures behind it; empty where the part does not answer."
    )


class Detailed(Shape):
    """The whole picture."""

    status: Literal["ok", "degraded", "down"]
    sentence: str
    checked_at: str
    components: list[Component]


class Sample(Shape):
    """One span of time: means, and the worst where that is what counts. With several workers the gateway's
    own figures are those of one, whichever wrote last.
    """

    at: float = Field(description="UNIX seconds.")
    samples: int = Field(description="Readings in this span.")
    requests_per_second: float | None
    server_error_share: float | None
    hot_hit_rate: float | None
    cpu_percent: float | None
    memory_mb: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    statuses: dict[str, Literal["ok", "degraded", "down"]]


class TrendPoint(Shape):
    """One step of the grid."""

    at: int = Field(description="Start of the step, UNIX seconds.")
    sample: Sample | None = Field(description="Null where nothing was sampled.")


class Gap(Shape):
    """A span without samples, in UNIX seconds."""

    from_: int = Field(alias="from")
    to: int


class Trends(Shape):
    """A regular grid over the last hours."""

    hours: float
    step_seconds: int
    points: list[TrendPoint]
    gaps: list[Gap]
