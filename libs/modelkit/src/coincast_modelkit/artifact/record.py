"""The walk-forward record of a version: its out-of-sample figures from training."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class HorizonRecord:
    """Walk-forward figures of one horizon and of its baselines; None where there were too few forecasts.

    skill_percent is 100 (1 - MAE / MAE of the last price). crps_skill_percent is the same with CRPS, against
    the rolling 60-day Gaussian random walk. mase is the mean of the absolute errors, each divided by the mean
    absolute one-day step of its coin before the first test day. The steps differ between coins, so compare
    mase with random_walk_mase: the same figure for the last price, on the same days.
    """

    horizon_days: int
    forecasts: int
    mase: float | None = None
    mape_percent: float | None = None
    random_walk_mape_percent: float | None = None
    skill_percent: float | None = None
    crps_skill_percent: float | None = None
    coverage_80_percent: float | None = None
    coverage_95_percent: float | None = None
    # Set for a horizon in hours; horizon_days is then 0.
    horizon_hours: int = 0
    # In percentage points, computed over periods that do not overlap.
    coverage_80_standard_error: float | None = None
    # Number of non-overlapping periods of the horizon's length in the test days.
    independent_periods: int | None = None
    # None in records that were made before this field existed.
    random_walk_mase: float | None = None

    @property
    def scaled_mase(self) -> float | None:
        """Return mase if random_walk_mase is known, else None."""
        return self.mase if self.random_walk_mase is not None else None


@dataclass(frozen=True, slots=True)
class Record:
    """The walk-forward record, empty if there was none. measured_at is UNIX seconds, days are ISO dates."""

    measured_at: float = 0.0
    test_coins: tuple[str, ...] = ()
    test_from: str = ""
    test_to: str = ""
    horizons: tuple[HorizonRecord, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and dicts."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Self:
        """Parse the output of to_dict. Raises TypeError or KeyError for anything else."""
        rest = {k: v for k, v in raw.items() if k not in {"horizons", "test_coins"}}
        horizons = tuple(HorizonRecord(**h) for h in raw.get("horizons", ()))
        return cls(**rest, horizons=horizons, test_coins=tuple(raw.get("test_coins", ())))
