"""Result of a tuning study."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from coincast_training.tuning.space import Params


@dataclass(frozen=True, slots=True)
class Tuning:
    """Parameters to fit with, and how the study found them."""

    parameters: Params
    best_value: float
    base_value: float
    trials: tuple[dict[str, Any], ...]
    importance: dict[str, float]
    window: tuple[str, str]

    def summary(self) -> dict[str, Any]:
        """Return the summary for the manifest."""
        return {
            "objective": "mean CRPS over horizons, each over the square root of its days",
            "window": list(self.window),
            "best_value": self.best_value,
            "base_value": self.base_value,
            "trials": len(self.trials),
            "pruned": sum(trial["state"] == "pruned" for trial in self.trials),
            "importance": self.importance,
        }
