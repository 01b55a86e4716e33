"""The shape of what is left: symmetric sizes of standardised residuals, by horizon."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.forecasts import PROBABILITIES
from coincast_modelkit.intervals.regimes import REGIMES, Regimes
from coincast_modelkit.models.interpolation import across_horizons

HALF = len(PROBABILITIES) // 2
# Central levels of the stored sizes: 0 at the median, up to the widest interval.
LEVELS: Floats = 2 * PROBABILITIES[HALF:] - 1

# So many residuals tell their own middle; fewer only tell the scale of a Student t with five degrees of
# freedom.
MIN_RESIDUALS = 40
# With this many independent stretches of days the sample counts as much as the prior shape, which is as wide
# as returns were in units of range volatility before 2022.
PRIOR_BLOCKS = 20.0
PRIOR_SPREAD = 1.2
# A residual farther out counts as if it were this far in second moments: one false print among ten thousand
# would otherwise move every coin's volatility.
MAX_RESIDUAL = 8.0


@dataclass(frozen=True, slots=True, eq=False)
class ResidualShape:
    """The distribution of residuals at A anchor horizons.

    It holds sizes (A, HALF + 1) of |residual| in units of forecast volatility, their root mean square (A,),
    and the factor of the sizes in each volatility regime (A, REGIMES). It is symmetric by construction, since
    asymmetric residuals would be an implied drift.

    agreeing tells that the quoted volatility is held to that of the quantiles; artifacts of before that rule
    quote theirs as it is.
    """

    anchors: tuple[int, ...]
    sizes: Floats
    root_mean_square: Floats
    regime_widths: Floats
    agreeing: bool = True

    def quantiles(self, horizons: Sequence[int], regimes: Regimes) -> Floats:
        """Return standardised quantiles (n, H, Q) at PROBABILITIES in regimes (n,)."""
        upper = across_horizons(self.anchors, self.sizes, horizons)
        widths = across_horizons(self.anchors, self.regime_widths, horizons).T[regimes]
        both = np.concatenate([-upper[:, :0:-1], upper], axis=1)
        return np.asarray(widths[..., None] * both)

    def calibration(self, horizons: Sequence[int]) -> Floats:
        """Return what forecast volatility must be multiplied with to be a standard deviation: (H,)."""
        return across_horizons(self.anchors, self.root_mean_square, horizons)

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists."""
        return {
            "anchors": list(self.anchors),
            "sizes": self.sizes.tolist(),
            "root_mean_square": self.root_mean_square.tolist(),
            "regime_widths": self.regime_widths.tolist(),
            "agreeing": self.agreeing,
        }

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Self:
        """Read what to_dict wrote, or gave before regimes had widths of their own."""
        anchors = tuple(raw["anchors"])
        widths = raw.get("regime_widths", np.ones((len(anchors), REGIMES)))
        return cls(
            anchors,
            np.array(raw["sizes"]),
            np.array(raw["root_mean_square"]),
            np.array(widths),
            agreeing=bool(raw.get("agreeing", False)),
        )


def residual_shape(
    anchors: Sequence[int], residuals: Sequence[Floats], *, blocks: Sequence[int] | None = None
) -> ResidualShape:
    """Return the shape of standardised residuals, one array (any length) an anchor; NaN are left out.

    blocks says how many independent stretches of days each array holds: with few of them the shape is drawn
    to a Student t. Beyond the reach of the sample a Student t's tail goes on from the last size it can tell.
    """
    sizes, squares = [], []
    for j, h in enumerate(anchors):
        known = np.abs(residuals[j][np.isfinite(residuals[j])])
        own = _sizes(known)
        square = float(np.mean(np.minimum(known, MAX_RESIDUAL) ** 2)) if len(known) else PRIOR_SPREAD**2
        # A model that was never wrong needs no width, however little was seen.
        if blocks is not None and not (len(known) >= MIN_RESIDUALS and square == 0):
            trust = blocks[j] / (blocks[j] + PRIOR_BLOCKS)
            own = trust * own + (1 - trust) * PRIOR_SPREAD * student_sizes(h)
            square = trust * square + (1 - trust) * PRIOR_SPREAD**2
        sizes.append(own)
        squares.append(np.sqrt(square))
    return ResidualShape(tuple(anchors), np.stack(sizes), np.array(squares), np.ones((len(anchors), REGIMES)))


@cache
def student_sizes(horizon: int) -> Floats:
    """Sizes (HALF + 1,) of a Student t of unit variance: 4 degrees of freedom at one day, 10 at thirty.

    So the pooled residuals of the coins fell on the years before 2022, within a few percent at every level.
    """
    from scipy.special import stdtrit  # noqa: PLC0415 - slow to import

    freedom = 4 + 6 * (horizon - 1) / 29
    return np.asarray(stdtrit(freedom, (1 + LEVELS) / 2) * np.sqrt((freedom - 2) / freedom))


def _sizes(known: Floats) -> Floats:
    """Return quantiles of sizes (m,) at LEVELS, zero at the median, never falling."""
    from scipy.special import stdtrit  # noqa: PLC0415 - slow to import, and only fitting needs it

    tail = np.asarray(stdtrit(5.0, (1 + LEVELS) / 2))
    if len(known) < MIN_RESIDUALS:
        square = np.sqrt(np.mean(known**2)) if len(known) else 1.0
        return np.asarray(tail * square / np.sqrt(5.0 / 3.0))
    resolved = 1 - 10 / len(known) >= LEVELS
    own = np.quantile(known, LEVELS)
    last = int(np.flatnonzero(resolved)[-1])
    out = np.where(resolved, own, own[last] * tail / tail[last])
    out[0] = 0.0
    return np.asarray(np.maximum.accumulate(out))
