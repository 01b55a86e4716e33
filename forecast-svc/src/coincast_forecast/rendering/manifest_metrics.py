"""Convert the walk-forward record of a manifest to the record of a reply."""

from __future__ import annotations

from datetime import UTC, datetime

from coincast_forecast.domain import HorizonRecord, Record
from coincast_modelkit.artifact import Record as StoredRecord


def record_of(stored: StoredRecord) -> Record | None:
    """Convert a record; return None if it has no horizons."""
    if not stored.horizons:
        return None
    return Record(
        measured_at=datetime.fromtimestamp(stored.measured_at, UTC) if stored.measured_at else None,
        test_coins=", ".join(stored.test_coins),
        test_from_date=stored.test_from,
        test_to_date=stored.test_to,
        horizons=tuple(
            HorizonRecord(
                horizon_days=h.horizon_days,
                horizon_hours=h.horizon_hours,
                forecasts=h.forecasts,
                mase=h.scaled_mase,
                mape_percent=h.mape_percent,
                random_walk_mape_percent=h.random_walk_mape_percent,
                skill_percent=h.skill_percent,
                crps_skill_percent=h.crps_skill_percent,
                coverage_80_percent=h.coverage_80_percent,
                coverage_95_percent=h.coverage_95_percent,
                coverage_80_standard_error=h.coverage_80_standard_error,
                independent_periods=h.independent_periods,
                random_walk_mase=h.random_walk_mase,
            )
            for h in stored.horizons
        ),
    )
