"""The shape of what is left: symmetric sizes of standardised residuals, by horizon."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.forecasts import PROBABILITIES
from coincast_modelkit.models.parts import across_horizons

HALF = len(PROBABILITIES) // 2
# Central levels of the stored sizes: 0 at the median, up to the widest interval.
LEVELS: Floats = 2 * PROBABILITIES[HALF:] - 1

# So many residuals tell their own middle; fewer only tell the scale of a Student t with five degrees of
# freedom.
MIN_RESIDUALS = 40


@dataclass(frozen=True, slots=True, eq=False)
class ResidualShape:
    """At A anchor horizons: sizes (A, HALF + 1) of |residual| in units of forecast volatility, and their
    root mean square (A,). Symmetric by construction: asymmetric residuals are a drift in disguise.
    """

    anchors: tuple[int, ...]
    sizes: Floats
    root_mean_square: Floats

    def quantiles(self, horizons: Sequence[int]) -> Floats:
        """Standardised quantiles (H, Q) at PROBABILITIES."""
        upper = across_horizons(self.anchors, self.sizes, horizons)
        return np.asarray(np.concatenate([-upper[:, :0:-1], upper], axis=1))

    def calibration(self, horizons: Sequence[int]) -> Floats:
        """What forecast volatility must be multiplied with to be a standard deviation: (H,)."""
        return across_horizons(self.anchors, self.root_mean_square, horizons)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists."""
        return {
            "anchors": list(self.anchors),
            "sizes": self.sizes.tolist(),
            "root_mean_square": self.root_mean_square.tolist(),
        }

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Self:
        """What to_dict gave."""
        return cls(tuple(raw["anchors"]), np.array(raw["sizes"]), np.array(raw["root_mean_square"]))


def residual_shape(anchors: Sequence[int], residuals: Sequence[Floats]) -> ResidualShape:
    """The shape of standardised residuals, one array (any length) an anchor; NaN are left out.

    Beyond the reach of the sample the tail of a Student t goes on from the last size it can tell.
    """
    sizes = np.stack([_sizes(np.abs(r[np.isfinite(r)])) for r in residuals])
    squares = [np.sqrt(np.mean(r[np.isfinite(r)] ** 2)) if np.isfinite(r).any() else 1.0 for r in residuals]
    return ResidualShape(tuple(anchors), sizes, np.array(squares))


def _sizes(known: Floats) -> Floats:
    """Quantiles of sizes (m,) at LEVELS, zero at the median, never falling."""
    from scipy.special import stdtrit  # noqa: PLC0415 - slow to import, and only fitting needs it

    tail = np.asarray(stdtrit(5.0, (1 + LEVELS) / 2))
    if len(known) < MIN_RESIDUALS:
        square = np.sqrt(np.mean(known**2)) if len(known) else 1.0
        return np.asarray(tail * square / np.sqrt(5.0 / 3.0))
    told = 1 - 10 / len(known) >= LEVELS
    own = np.quantile(known, LEVELS)
    last = int(np.flatnonzero(told)[-1])
    out = np.where(told, own, own[last] * tail / tail[last])
    out[0] = 0.0
    return np.asarray(np.maximum.accumulate(out))
