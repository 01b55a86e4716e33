"""Parameters of the member of the ensemble that reads hours, and whether to use it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class HoursParams:
    """Parameters of the hours member.

    Attributes:
        use: `auto` adds the member if the hours of enough days are known, `on` requires it, `off` leaves it
            out.
        max_horizon: Longest horizon in days at which it is pooled, since hours tell nothing about a month.
        prior: Prior weight of the member.
        prior_days: Strength of the shrinkage to the prior weight.
        min_days: Days with hours before the first fit, and days of its forecasts before it is used.
        rounds: Number of trees on the residuals of its regression.
    """

    use: Literal["auto", "on", "off"] = "auto"
    max_horizon: int = 7
    prior: float = 0.5
    prior_days: float = 50.0
    min_days: int = 180
    rounds: int = 200

    def faults(self) -> list[str]:
        """Return a sentence for each field that is out of range."""
        checks = {
            f"max_horizon: must be at least 1, got {self.max_horizon}": self.max_horizon >= 1,
            f"prior: must be 0 to 0.9, got {self.prior}": 0 <= self.prior <= 0.9,
            f"prior_days: must be above 0, got {self.prior_days}": self.prior_days > 0,
            f"min_days: must be at least 90, got {self.min_days}": self.min_days >= 90,
            f"rounds: must be at least 1, got {self.rounds}": self.rounds >= 1,
        }
        return [f"hours.{text}" for text, right in checks.items() if not right]
