"""Live record: accuracy of served forecasts by model, version, variant, horizon and optionally coin.

A forecast with a daily horizon that starts within the day covers less time than its horizon. It is therefore
only in the record by origin hour. Hourly forecasts are in both records.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from coincast_modelkit.artifact import HorizonRecord
from coincast_modelkit.hourly.model import ANCHORS

GROUP = ("model", "version", "variant", "horizon_days", "horizon_hours")
# Horizons of the record by origin hour; only some, since each has up to 24 entries.
ORIGIN_HOUR_DAYS = (1, 7, 14, 30)
ORIGIN_HOUR_HOURS = ANCHORS


@dataclass(frozen=True, slots=True)
class Live:
    """Record of one group of served forecasts.

    Attributes:
        model: Name of the model.
        version: Version of the model.
        variant: Production, challenger or shadow.
        coin_id: The coin; empty for all coins together.
        days: Number of different days on which the forecasts were due.
        horizon: The scores.
        origin_hour: UTC hour of the day at which the forecasts start; None for all hours together.
    """

    model: str
    version: str
    variant: str
    coin_id: str
    days: int
    horizon: HorizonRecord
    origin_hour: int | None = None


def frame_of(table: pa.Table, *, model: str = "", coin_id: str = "") -> pl.DataFrame:
    """Return the scored forecasts that a model served itself, without those served by a fallback."""
    frame = pl.DataFrame(pl.from_arrow(table)).filter(pl.col("served_by") == pl.col("model"))
    if model:
        frame = frame.filter(pl.col("model") == model)
    return frame.filter(pl.col("coin_id") == coin_id) if coin_id else frame


def from_closes(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the forecasts of daily horizons that start from a daily close."""
    return frame.filter((pl.col("horizon_hours") == 0) & (pl.col("as_of_hours") == 0))


def live_records(frame: pl.DataFrame, *, by_coin: bool = False) -> list[Live]:
    """Return the records of all groups: daily horizons from daily closes, hourly horizons from all hours."""
    counted = frame.filter((pl.col("horizon_hours") > 0) | (pl.col("as_of_hours") == 0))
    return _records(counted, [*GROUP, "coin_id"] if by_coin else list(GROUP))


def origin_hour_records(frame: pl.DataFrame, *, by_coin: bool = False) -> list[Live]:
    """Return the records of all groups and of each UTC hour at which forecasts start."""
    counted = frame.filter(
        pl.col("horizon_days").is_in(ORIGIN_HOUR_DAYS) | pl.col("horizon_hours").is_in(ORIGIN_HOUR_HOURS)
    )
    keys = [*GROUP, "coin_id"] if by_coin else list(GROUP)
    return _records(counted, [*keys, "as_of_hours"])


def _records(frame: pl.DataFrame, keys: list[str]) -> list[Live]:
    rows = frame.group_by(keys).agg(*_SCORES).sort(keys).to_dicts()
    return [
        Live(
            model=row["model"],
            version=row["version"],
            variant=row["variant"],
            coin_id=row.get("coin_id", ""),
            days=row["days"],
            horizon=_horizon(row),
            origin_hour=row.get("as_of_hours"),
        )
        for row in rows
    ]


_KNOWN = pl.col("random_walk_crps").is_not_null()
_SCORES = (
    pl.len().alias("forecasts"),
    pl.col("due").n_unique().alias("days"),
    (100 * pl.col("absolute_error") / pl.col("actual")).mean().alias("mape"),
    (100 * pl.col("random_walk_error") / pl.col("actual")).mean().alias("walk_mape"),
    (pl.col("absolute_error") / pl.col("naive_step")).mean().alias("mase"),
    (pl.col("random_walk_error") / pl.col("naive_step")).mean().alias("walk_mase"),
    (pl.col("absolute_error") / pl.col("last_price")).sum().alias("error"),
    (pl.col("random_walk_error") / pl.col("last_price")).sum().alias("walk_error"),
    pl.col("crps").filter(_KNOWN).sum().alias("crps"),
    pl.col("random_walk_crps").sum().alias("walk_crps"),
    (100.0 * pl.col("inside_80").cast(pl.Float64)).mean().alias("coverage_80"),
    (100.0 * pl.col("inside_95").cast(pl.Float64)).mean().alias("coverage_95"),
)


def _horizon(row: dict[str, Any]) -> HorizonRecord:
    return HorizonRecord(
        horizon_days=row["horizon_days"],
        horizon_hours=row["horizon_hours"],
        forecasts=row["forecasts"],
        mase=row["mase"],
        random_walk_mase=row["walk_mase"],
        mape_percent=row["mape"],
        random_walk_mape_percent=row["walk_mape"],
        skill_percent=_skill(row["error"], row["walk_error"]),
        crps_skill_percent=_skill(row["crps"], row["walk_crps"]),
        coverage_80_percent=row["coverage_80"],
        coverage_95_percent=row["coverage_95"],
    )


def _skill(loss: float, baseline: float) -> float | None:
    return 100 * (1 - loss / baseline) if baseline > 0 else None
