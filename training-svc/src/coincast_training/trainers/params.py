"""Read and validate the parameters of a recipe; errors name the field and the fix."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from coincast_modelkit.forecasts import MAX_HORIZON_DAYS

P = TypeVar("P", bound=BaseModel)
W = TypeVar("W", bound="WalkParams")


class WalkParams(BaseModel):
    """Parameters of every recipe: its horizons and its walk-forward days.

    Attributes:
        anchors: Horizons in days that are fitted.
        mean_anchors: Anchors that also have a forecast of the mean.
        ridge_rows: Penalty of the ridge regression, in rows.
        later_share: Share of a window that decides the early stop.
        folds: Minimum number of folds, if the history is long enough; a short history has shorter folds.
        first_test: First test day; None for the middle of the history.
        step_days: Maximum number of days of a fold. Folds correct the widths of the intervals, so they should
            not be longer than a version is served.
        rolling_days: Maximum number of training days of a fold; None for all.
        walk_forward: Whether walk-forward forecasts are made.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    anchors: tuple[int, ...] = (1, 3, 7, 14, 30)
    mean_anchors: tuple[int, ...] = (1, 7)
    ridge_rows: float = Field(50.0, ge=0)
    later_share: float = Field(0.15, gt=0.02, lt=0.5)
    folds: int = Field(4, ge=1, le=60)
    first_test: dt.date | None = None
    step_days: int = Field(120, ge=7)
    rolling_days: int | None = Field(None, ge=180)
    walk_forward: bool = True

    @field_validator("anchors", "mean_anchors")
    @classmethod
    def _check_increasing(cls, days: tuple[int, ...]) -> tuple[int, ...]:
        if not days or list(days) != sorted(set(days)) or days[0] < 1 or days[-1] > MAX_HORIZON_DAYS:
            raise ValueError(f"must be increasing days from 1 to {MAX_HORIZON_DAYS}")
        return days

    @model_validator(mode="after")
    def _check_mean_anchors(self) -> Self:
        if not set(self.mean_anchors) <= set(self.anchors):
            raise ValueError("mean_anchors must be among anchors")
        return self


def for_span(params: W, days: int) -> W:
    """Return the recipe with only those anchors for which a history of this many days is long enough.

    Raises:
        ValueError: The history is too short for the shortest anchor.
    """
    anchors = tuple(h for h in params.anchors if days >= 60 + 4 * h)
    if not anchors:
        raise ValueError(f"{days} days of history are too few to train on; 90 are the least")
    mean = tuple(h for h in params.mean_anchors if h in anchors) or anchors[:1]
    return params.model_copy(update={"anchors": anchors, "mean_anchors": mean})


def read_params(kind: type[P], raw: Mapping[str, Any], *, model: str) -> P:
    """Convert a mapping to typed parameters.

    Raises:
        ValueError: A field is wrong; the message names each, its value and the fix.
    """
    try:
        return kind.model_validate(dict(raw))
    except ValidationError as error:
        faults = "; ".join(_fault(kind, e) for e in error.errors())
        raise ValueError(f"{model} parameters: {faults}") from error


def _fault(kind: type[BaseModel], fault: Any) -> str:
    where = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"{where} is not a parameter (known are {', '.join(sorted(kind.model_fields))})"
    return f"{where}: {fault['msg'][0].lower()}{fault['msg'][1:]}, got {fault['input']!r}"


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with the values of `over`; nested mappings are merged in the same way."""
    out = dict(base)
    for name, value in over.items():
        inner = out.get(name)
        both = isinstance(value, Mapping) and isinstance(inner, Mapping)
        out[name] = (
            merged(inner or {}, value) if both else (dict(value) if isinstance(value, Mapping) else value)
        )
    return out
