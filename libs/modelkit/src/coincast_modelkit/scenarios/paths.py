"""Simulate joint paths: quantiles of today's forecasts in the rank order of past days (Schaake shuffle)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from coincast_modelkit.candles import Dates, Floats
from coincast_modelkit.forecasts import Forecasts
from coincast_modelkit.scenarios.library import MAX_DAYS, ScenarioWindow
from coincast_modelkit.scenarios.record import RiskRecord
from coincast_modelkit.scenarios.scales import day_scales, horizon_scales, spread_of

# Horizons whose scales are used; those of other horizons are interpolated, as in the library.
SCALE_HORIZONS = (1, 3, 7, 14)


@dataclass(frozen=True, slots=True, eq=False)
class JointPaths:
    """S joint paths of n coins over H days, as log returns from the last price; arrays are (n, H, S).

    Path s of every coin follows the joint moves of the coins after the same past day, origins[s]. On every
    day high >= close >= low, and the range from low to high also includes the previous close.

    Attributes:
        coin_ids: The coins, (n,).
        last_price: The price from which returns are measured, (n,).
        origins: The past days, (S,).
        closes, highs, lows: Log returns.
        borrowed_share: Share of the paths on which a coin's moves are those of other coins, (n,).
        ranged: Whether highs and lows come from day ranges, (n,); otherwise they are those of the closes.
        record: Out-of-sample accuracy of statements from such paths; None if it was not measured.
    """

    coin_ids: tuple[str, ...]
    last_price: Floats
    origins: Dates
    closes: Floats
    highs: Floats
    lows: Floats
    borrowed_share: Floats
    ranged: npt.NDArray[np.bool_]
    record: RiskRecord | None = None

    @property
    def days(self) -> int:
        """Return the number of days of each path."""
        return int(self.closes.shape[1])

    def __len__(self) -> int:
        return int(self.closes.shape[2])

    def index(self, coin_id: str) -> int:
        """Return a coin's index. Raises ValueError if it is not among the paths."""
        return self.coin_ids.index(coin_id)

    def spread(self, paths: int) -> JointPaths:
        """Return a subset of `paths` paths, spread evenly over the origins."""
        if paths >= len(self):
            return self
        at = np.round(np.linspace(0, len(self) - 1, paths)).astype(np.int64)
        return JointPaths(
            coin_ids=self.coin_ids,
            last_price=self.last_price,
            origins=self.origins[at],
            closes=self.closes[..., at],
            highs=self.highs[..., at],
            lows=self.lows[..., at],
            borrowed_share=self.borrowed_share,
            ranged=self.ranged,
            record=self.record,
        )


def simulate_paths(window: ScenarioWindow, forecasts: Forecasts, days: int) -> JointPaths:
    """Simulate joint paths whose marginal distributions are the forecasts.

    At each horizon, the path whose past move was the r-th lowest of S gets the forecast's quantile at
    (r - 1/2) / S (Schaake shuffle, Clark et al. 2004). Highs and lows exceed the closes by the same distance
    as on the past days, in units of the day's scale.

    Args:
        window: The past origins.
        forecasts: n coins with complete distributions at horizons 1 to at least `days`, in any order. The
            scales are those at SCALE_HORIZONS.
        days: 1 to MAX_DAYS.

    Raises:
        ValueError: A coin's distribution is incomplete, a horizon is missing, or days is out of range.
    """
    if not 1 <= days <= MAX_DAYS:
        raise ValueError(f"days must be 1 to {MAX_DAYS}, got {days}")
    column = {h: j for j, h in enumerate(forecasts.horizons)}
    if missing := [h for h in range(1, days + 1) if h not in column]:
        raise ValueError(f"forecasts lack the horizon of {missing[0]} days")
    if not forecasts.usable().all():
        bad = forecasts.coin_ids[int(np.flatnonzero(~forecasts.usable())[0])]
        raise ValueError(f"{bad} has no whole distribution to simulate from")
    count = len(window)
    own = window.columns(forecasts.coin_ids)
    at = [column[h] for h in range(1, days + 1)]
    levels = (np.arange(count) + 0.5) / count
    wanted = replace(
        forecasts,
        horizons=tuple(range(1, days + 1)),
        log_return_quantiles=forecasts.log_return_quantiles[:, at],
    )
    marginals = wanted.quantile_log_returns(levels)
    closes = np.take_along_axis(marginals, own.ranks[:, :days], axis=2)
    steps = day_scales(_scales(forecasts, days))[..., None]
    before = np.concatenate([np.zeros((len(closes), 1, count)), closes[:, :-1]], axis=1)
    highs = np.maximum(before, closes)
    highs += steps * own.highs[:, :days]
    lows = np.minimum(before, closes)
    lows -= steps * own.lows[:, :days]
    return JointPaths(
        coin_ids=forecasts.coin_ids,
        last_price=forecasts.last_price,
        origins=window.origins,
        closes=closes,
        highs=highs,
        lows=lows,
        borrowed_share=own.borrowed_share,
        ranged=own.ranged,
        record=window.record,
    )


def _scales(forecasts: Forecasts, days: int) -> Floats:
    """Return the scales at horizons 1 to `days`, (n, days), interpolated from those at SCALE_HORIZONS."""
    anchors = [h for h in SCALE_HORIZONS if h in forecasts.horizons]
    anchors = anchors or list(forecasts.horizons)
    at = [forecasts.horizons.index(h) for h in anchors]
    widths = spread_of(forecasts.log_return_quantiles[:, at], forecasts.probabilities)
    return horizon_scales(anchors, widths, days)
