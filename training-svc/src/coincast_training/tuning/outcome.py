"""Result of a tuning study."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from coincast_training.tuning.space import Params


@dataclass(frozen=True, slots=True)
class Tuning:
    """The parameters to fit with, and the results of the study."""

    parameters: Params
    best_value: float
    base_value: float
    trials: tuple[dict[str, Any], ...]
    importance: dict[str, float]
    window: tuple[str, str]

    def summary(self) -> dict[str, Any]:
        """Return the summary for the manifest."""
        return {
            "objective": "mean over horizons of the CRPS divided by the square root of the days",
            "window": list(self.window),
            "best_value": self.best_value,
            "base_value": self.base_value,
            "trials": len(self.trials),
            "pruned": sum(trial["state"] == "pruned" for trial in self.trials),
            "importance": self.importance,
        }
