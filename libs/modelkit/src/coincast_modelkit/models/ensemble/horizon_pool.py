"""The ensemble at one horizon: scales of its members, weights by regime, shape of the residuals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.features import FeatureSpec
from coincast_modelkit.models.scales import (
    SHORT,
    Garch,
    Inputs,
    LinearScale,
    joined,
    linear_design,
    spans_weekend,
)

if TYPE_CHECKING:
    from lightgbm import Booster

# The order of the members in arrays. The first four use the features, the others only the coin's own returns.
MEMBERS = ("har", "boosted", "boosted_har", "boosted_size", "garch_t", "ewma", "har_short", "constant")
BOOSTERS = ("boosted", "boosted_har", "boosted_size")
# Members that forecast the log of realised volatility; their mean is the volatility forecast.
OUTLOOK = ("har", "boosted", "boosted_har")
# The recurrent member, which comes last if the ensemble has one, and the member that replaces its absent
# values.
RNN, STAND_IN = "lstm", "boosted_har"


def with_rnn(members: Floats, column: Floats) -> Floats:
    """Append the recurrent member's log scales (n,) to members (n, M); absent ones are those of STAND_IN."""
    stand_in = members[:, MEMBERS.index(STAND_IN)]
    return np.column_stack([members, np.where(np.isfinite(column), column, stand_in)])


def outlook_of(members: Floats) -> Floats:
    """Return the mean (n,) of the OUTLOOK members of (n, M)."""
    return np.asarray(members[:, [MEMBERS.index(m) for m in OUTLOOK]].mean(axis=1))


@dataclass(frozen=True, slots=True, eq=False)
class Scales:
    """The fitted members at one horizon.

    Each forecasts the log standard deviation of the log return over the horizon.
    """

    horizon: int
    har: LinearScale
    har_short: LinearScale
    garch: Garch
    constant: float
    size_offset: float
    boosters: dict[str, Booster]

    def forecast(self, coins: Sequence[Inputs], spec: FeatureSpec) -> Floats:
        """Return the log scales of the members, (n, len(MEMBERS)), for all rows of all coins in order.

        NaN where the base volatility is absent. The trees see all rows in one call.
        """
        garch = [self.garch.log_scales(c.squared, (self.horizon,), len(c.base))[:, 0] for c in coins]
        inputs = joined(coins)
        root = 0.5 * np.log(self.horizon)
        base = inputs.base + root
        har = base + self.har.forecast(linear_design(inputs, spec))
        trees = {
            name: np.asarray(b.predict(inputs.features, num_threads=1)) for name, b in self.boosters.items()
        }
        table = {
            "har": har,
            "boosted": base + trees["boosted"],
            "boosted_har": har + trees["boosted_har"],
            "boosted_size": har + self.size_offset + trees["boosted_size"],
            "garch_t": np.concatenate(garch),
            "ewma": inputs.slow + root,
            "har_short": base + self.har_short.forecast(linear_design(inputs, spec, SHORT)),
            "constant": np.full(len(base), self.constant),
        }
        stacked = np.column_stack([table[name] for name in MEMBERS])
        return np.where(np.isfinite(inputs.base)[:, None], stacked, np.nan)

    def to_json(self) -> dict[str, Any]:
        """Return the parameters as JSON values, without the trees."""
        return {
            "horizon": self.horizon,
            "har": self.har.to_json(),
            "har_short": self.har_short.to_json(),
            "garch": self.garch.to_json(),
            "constant": self.constant,
            "size_offset": self.size_offset,
        }

    @classmethod
    def from_json(cls, plain: dict[str, Any], boosters: dict[str, Booster]) -> Scales:
        """Restore the scales from the output of `to_json` and the trees."""
        return cls(
            horizon=int(plain["horizon"]),
            har=LinearScale.from_json(plain["har"]),
            har_short=LinearScale.from_json(plain["har_short"]),
            garch=Garch(**plain["garch"]),
            constant=float(plain["constant"]),
            size_offset=float(plain["size_offset"]),
            boosters=boosters,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """The combination of the members at one horizon, for R volatility regimes.

    Attributes:
        weights: Weights of the members by regime, (R, M): at least zero, with a sum of one.
        sizes: Quantiles of |return| in units of the pooled scale at `ensemble.LEVELS`, (R, L).
        weekend: Factors of the sizes if the first forecast day is a working day (row 0) or in a weekend
            (row 1), (2, L): returns at weekends are smaller but have fatter tails.
        outlook_offset: Mean of log realised volatility less the mean of the OUTLOOK members.
        outlook_error: Standard deviation of that difference.
        outlook_factor: Converts the exponential of the outlook to a standard deviation.
    """

    weights: Floats
    sizes: Floats
    weekend: Floats
    outlook_offset: float
    outlook_error: float
    outlook_factor: float

    def log_scale(self, members: Floats, regime: Any) -> Floats:
        """Return the pooled log scale (n,) of members (n, M) in their regimes (n,)."""
        return np.asarray((members * self.weights[regime]).sum(axis=1))

    def sizes_of(self, inputs: Inputs) -> Floats:
        """Return the sizes (n, L) for the regime and the weekday of each row."""
        sizes = self.sizes[inputs.regime] * self.weekend[spans_weekend(inputs.weekday)]
        return np.maximum.accumulate(sizes, axis=1)

    def outlook(self, members: Floats) -> Floats:
        """Return the median of the log realised volatility over the horizon, (n,)."""
        return np.asarray(outlook_of(members) + self.outlook_offset)

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers."""
        return {
            "weights": self.weights.tolist(),
            "sizes": self.sizes.tolist(),
            "weekend": self.weekend.tolist(),
            "outlook_offset": self.outlook_offset,
            "outlook_error": self.outlook_error,
            "outlook_factor": self.outlook_factor,
        }

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Pool:
        """Restore the pool from the output of `to_json`."""
        return cls(
            weights=np.asarray(plain["weights"], dtype=np.float64),
            sizes=np.asarray(plain["sizes"], dtype=np.float64),
            weekend=np.asarray(plain["weekend"], dtype=np.float64),
            outlook_offset=float(plain["outlook_offset"]),
            outlook_error=float(plain["outlook_error"]),
            outlook_factor=float(plain["outlook_factor"]),
        )
