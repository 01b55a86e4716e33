"""Simulate joint paths: today's distributions in the rank order of past days (Schaake shuffle)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from coincast_modelkit.candles import Dates, Floats
from coincast_modelkit.forecasts import Forecasts
from coincast_modelkit.scenarios.library import MAX_DAYS, ScenarioWindow
from coincast_modelkit.scenarios.record import RiskRecord
from coincast_modelkit.scenarios.scales import day_scales, horizon_scales, spread_of

# Horizons at which scales are forecast; those between them are interpolated, as in the library.
SCALE_HORIZONS = (1, 3, 7, 14)


@dataclass(frozen=True, slots=True, eq=False)
class JointPaths:
    """S joint paths of n coins over H days, as log returns from the last price; arrays are (n, H, S).

    Path number s of every coin begins on the same past day, origins[s], and moves as the coins moved together
    after it. On every day high >= close >= low, and high and low also hold the close before.

    Attributes:
        coin_ids: The coins, (n,).
        last_price: The price that returns count from, (n,).
        origins: The past days, (S,).
        closes, highs, lows: Log returns.
        borrowed_share: Share of the paths on which a coin has the substitute moves of other coins, (n,).
        ranged: Whether highs and lows come from day ranges, (n,); else they are those of the closes.
        record: How statements from such paths did on past days; None where it was not measured.
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
        """Return a coin's position. Raises ValueError where it is not among the paths."""
        return self.coin_ids.index(coin_id)

    def spread(self, paths: int) -> JointPaths:
        """Return this number of paths, spread evenly over the origins."""
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
    """Simulate joint paths whose marginals are the forecasts.

    At each horizon the path that came r-th lowest among S past days gets the forecast's quantile at (r - 1/2)
    / S (Schaake shuffle, Clark et al. 2004). Highs and lows exceed the closes by the same distance as on the
    past days, in units of the day's scale.

    Args:
        window: The past origins.
        forecasts: n coins with whole distributions at horizons 1 to at least `days`, in any order; scales
            take those of SCALE_HORIZONS among them.
        days: 1 to MAX_DAYS.

    Raises:
        ValueError: If a coin's distribution is not whole, a horizon is missing or days is out of range.
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
    """Return scales of the return to every horizon, (n, days), from the widths at a few of them."""
    anchors = [h for h in SCALE_HORIZONS if h in forecasts.horizons]
    anchors = anchors or list(forecasts.horizons)
    at = [forecasts.horizons.index(h) for h in anchors]
    widths = spread_of(forecasts.log_return_quantiles[:, at], forecasts.probabilities)
    return horizon_scales(anchors, widths, days)
