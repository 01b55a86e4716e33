"""Parameters of the ensemble's recurrent member, and whether to use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from coincast_training.trainers.lstm.params import LstmParams
from coincast_training.trainers.params import read_params

# YAML reads a bare on and off as true and false.
WORDS: dict[Any, str] = {True: "on", False: "off"}


@dataclass(frozen=True, slots=True)
class RnnParams:
    """Parameters of the recurrent member.

    use: auto adds the network if TensorFlow is installed and the history is long enough, on requires it, off
    leaves it out. every_days: age at which a network of the walk is replaced. refit: the served network knows
    everything up to the last day, otherwise it is the walk's newest. prior: its prior share of the pool.
    min_days: history before the first network. passes: Monte-Carlo passes of each forecast. network:
    parameters of the lstm recipe, like units or epochs.
    """

    use: Literal["auto", "on", "off"] = "auto"
    every_days: int = 240
    refit: bool = True
    prior: float = 0.2
    min_days: int = 400
    passes: int = 50
    network: dict[str, Any] = field(default_factory=dict)

    def recipe(self, anchors: tuple[int, ...]) -> LstmParams:
        """Return the network's recipe at the ensemble's anchors. Raises ValueError if it is wrong.

        Its forecast of the mean gets no weight: the ensemble's point forecast is the last price.
        """
        horizons = tuple(sorted(set(anchors)))
        own = {"anchors": horizons, "mean_anchors": horizons[:1], "mean_loss_share": 0.0}
        taken = [name for name in (*own, "samples") if name in self.network]
        if taken:
            raise ValueError(f"lstm.network.{taken[0]}: is set by the ensemble; leave it out")
        recipe = {**own, "samples": self.passes, **self.network}
        return read_params(LstmParams, recipe, model="ml_ensemble lstm.network")

    def faults(self) -> list[str]:
        """Return what is out of range, field by field."""
        checks = {
            f"every_days: must be at least 30, got {self.every_days}": self.every_days >= 30,
            f"prior: must be 0 to 0.5, got {self.prior}": 0 <= self.prior <= 0.5,
            f"min_days: must be at least 120, got {self.min_days}": self.min_days >= 120,
            f"passes: must be 2 to 512, got {self.passes}": 2 <= self.passes <= 512,
        }
        return [f"lstm.{text}" for text, right in checks.items() if not right]


def switch_mapping(plain: Any) -> Any:
    """Return `lstm: off` as `lstm: {use: off}`, with on and off as words; other values unchanged."""
    if isinstance(plain, Mapping):
        use = plain.get("use")
        return {**plain, "use": WORDS[use]} if isinstance(use, bool) else dict(plain)
    if isinstance(plain, bool | str):
        return {"use": WORDS[plain] if isinstance(plain, bool) else plain}
    return plain
