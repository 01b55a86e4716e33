"""Parameters of the recurrent member of the ensemble, and whether to use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from coincast_training.trainers.lstm.params import LstmParams
from coincast_training.trainers.params import read_params

# YAML reads `on` and `off` without quotes as true and false.
SWITCHES: dict[Any, str] = {True: "on", False: "off"}


@dataclass(frozen=True, slots=True)
class RnnParams:
    """Parameters of the recurrent member.

    Attributes:
        use: `auto` adds the network if TensorFlow is installed and the history is long enough, `on` requires
            it, `off` leaves it out.
        every_days: Age at which a network of the walk is replaced.
        refit: Whether the served network is fitted up to the last day; else it is the newest of the walk.
        prior: Prior weight of the member in the pool.
        min_days: Days of history before the first network.
        passes: Monte-Carlo passes of each forecast.
        network: Parameters of the lstm recipe, like units or epochs.
    """

    use: Literal["auto", "on", "off"] = "auto"
    every_days: int = 240
    refit: bool = True
    prior: float = 0.2
    min_days: int = 400
    passes: int = 50
    network: dict[str, Any] = field(default_factory=dict)

    def recipe(self, anchors: tuple[int, ...]) -> LstmParams:
        """Return the recipe of the network at the anchors of the ensemble.

        Its forecast of the mean gets no weight, since the point forecast of the ensemble is the last price.

        Raises:
            ValueError: A parameter of the network is wrong.
        """
        horizons = tuple(sorted(set(anchors)))
        own = {"anchors": horizons, "mean_anchors": horizons[:1], "mean_loss_share": 0.0}
        taken = [name for name in (*own, "samples") if name in self.network]
        if taken:
            raise ValueError(f"lstm.network.{taken[0]}: is set by the ensemble; leave it out")
        recipe = {**own, "samples": self.passes, **self.network}
        return read_params(LstmParams, recipe, model="ml_ensemble lstm.network")

    def faults(self) -> list[str]:
        """Return a sentence for each field that is out of range."""
        checks = {
            f"every_days: must be at least 30, got {self.every_days}": self.every_days >= 30,
            f"prior: must be 0 to 0.5, got {self.prior}": 0 <= self.prior <= 0.5,
            f"min_days: must be at least 120, got {self.min_days}": self.min_days >= 120,
            f"passes: must be 2 to 512, got {self.passes}": 2 <= self.passes <= 512,
        }
        return [f"lstm.{text}" for text, right in checks.items() if not right]


def switch_mapping(plain: Any) -> Any:
    """Convert the value of `lstm: off` to `{use: off}`, with `on` and `off` as text; keep other values."""
    if isinstance(plain, Mapping):
        use = plain.get("use")
        return {**plain, "use": SWITCHES[use]} if isinstance(use, bool) else dict(plain)
    if isinstance(plain, bool | str):
        return {"use": SWITCHES[plain] if isinstance(plain, bool) else plain}
    return plain
