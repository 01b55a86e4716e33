"""The live record file: recent skill by model, coin and horizon, from which `auto` selects a model."""

from __future__ import annotations

from typing import Any

import polars as pl

from coincast_training.scoring.accuracy import Live, from_closes, live_records

MIN_FORECASTS = 10
SKILL_OF = "CRPS against the rolling 60-day Gaussian random walk, percent; positive is better"


def live_document(frame: pl.DataFrame, *, measured_at: float, window_days: int) -> dict[str, Any]:
    """Return `{"records": [{"model", "id", "horizon_days", "skill_percent", ...}]}`.

    An empty id means all coins together. Only production forecasts from a daily close count. All versions of
    a model count together, since `auto` selects a model and not a version.
    """
    production = from_closes(frame).filter(pl.col("variant") == "production").with_columns(version=pl.lit(""))
    lives = [*live_records(production), *live_records(production, by_coin=True)]
    return {
        "measured_at": measured_at,
        "window_days": window_days,
        "skill_of": SKILL_OF,
        "records": [_record(live) for live in lives if _has_enough_forecasts(live)],
    }


def _has_enough_forecasts(live: Live) -> bool:
    return live.horizon.crps_skill_percent is not None and live.horizon.forecasts >= MIN_FORECASTS


def _record(live: Live) -> dict[str, Any]:
    return {
        "model": live.model,
        "id": live.coin_id,
        "horizon_days": live.horizon.horizon_days,
        "skill_percent": live.horizon.crps_skill_percent,
        "forecasts": live.horizon.forecasts,
    }
