"""Compare touch probabilities with outcomes: Brier skill over simpler methods, and calibration by tenths."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from coincast_modelkit.forecasts import Forecasts
from coincast_modelkit.scenarios import JointPaths, touch_probabilities
from coincast_training.evaluation.metrics.significance import (
    diebold_mariano,
    skill_interval,
    skill_percent,
)
from coincast_training.evaluation.risk.scores import calibration_bins, calibration_error
from coincast_training.evaluation.risk.walk import MarketDays

Floats = NDArray[np.float64]
HORIZONS = (1, 3, 7, 14)
MOVES_PERCENT = (-15, -10, -5, -2, -1, 1, 2, 5, 10, 15)
LOG_LEVELS = np.log1p(np.array(MOVES_PERCENT) / 100)
CLOSE_DAYS = 30


@dataclass(frozen=True, eq=False)
class TouchStudy:
    """Collected touch probabilities of all coins, days, levels and horizons, scored at the end.

    Each entry of the lists is one coin on one day, with an array (levels, horizons).

    Attributes:
        market: Prices of all coins.
        engine: Probabilities of the scenario engine.
        twice_tail: Probabilities by twice the tail of the closing price.
        lognormal: Probabilities by reflection of a lognormal walk.
        events: Outcomes, 1 if the level was touched, else 0; NaN if the horizon has not ended.
        rows: Row of the market of each entry.
    """

    market: MarketDays
    engine: list[Floats] = field(default_factory=list)
    twice_tail: list[Floats] = field(default_factory=list)
    lognormal: list[Floats] = field(default_factory=list)
    events: list[Floats] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)

    def add(self, row: int, forecasts: Forecasts, paths: JointPaths) -> None:
        """Add the probabilities and outcomes of all coins of one day."""
        at = [h - 1 for h in HORIZONS]
        levels = np.linspace(0.0005, 0.9995, 1999)
        table = forecasts.quantile_log_returns(levels)[:, at]
        for i, coin in enumerate(paths.coin_ids):
            column = self.market.coin_ids.index(coin)
            self.engine.append(
                np.stack([touch_probabilities(paths, coin, float(x)).touch[at] for x in LOG_LEVELS])
            )
            self.twice_tail.append(_twice_the_tail(table[i], levels))
            self.lognormal.append(self._lognormal(row, column))
            self.events.append(self._events(row, column))
            self.rows.append(row)

    def _lognormal(self, row: int, column: int) -> Floats:
        """Return the touch probabilities of a lognormal walk, (levels, horizons).

        The reflection principle gives them; the last 30 daily returns give the volatility.
        """
        closes = self.market.log_close[row - CLOSE_DAYS : row + 1, column]
        deviation = float(np.diff(closes).std())
        roots = np.sqrt(np.array(HORIZONS, dtype=np.float64))
        distance = np.abs(LOG_LEVELS)[:, None] / max(deviation, 1e-9)
        return np.asarray(np.minimum(1.0, 2 * norm.sf(distance / roots)))

    def _events(self, row: int, column: int) -> Floats:
        """Return 1 for each level that was touched in each horizon, else 0; NaN before the horizon ends."""
        out = np.full((len(LOG_LEVELS), len(HORIZONS)), np.nan)
        start = self.market.log_close[row, column]
        for j, horizon in enumerate(HORIZONS):
            days = slice(row + 1, row + 1 + horizon)
            high, low = self.market.log_high[days, column], self.market.log_low[days, column]
            if len(high) == horizon and np.isfinite(high).all():
                up, down = high.max() - start, low.min() - start
                out[:, j] = np.where(LOG_LEVELS > 0, up >= LOG_LEVELS, down <= LOG_LEVELS)
        return out

    def results(self) -> dict[str, Any]:
        """Return Brier skill, calibration and bins of each horizon."""
        engine, tail, plain, events = (
            np.stack(part) for part in (self.engine, self.twice_tail, self.lognormal, self.events)
        )
        days = self.market.days[np.array(self.rows)]
        found: dict[str, Any] = {}
        for j, horizon in enumerate(HORIZONS):
            known = np.isfinite(events[:, 0, j])
            if not known.any():
                continue
            mine, touched = engine[known, :, j], events[known, :, j]
            dates = np.repeat(days[known], len(LOG_LEVELS))
            loss, base, other = (((p[known, :, j] - touched) ** 2).reshape(-1) for p in (engine, plain, tail))
            bins = calibration_bins(mine.reshape(-1), touched.reshape(-1) > 0)
            years = dates.astype("datetime64[Y]")
            up = LOG_LEVELS > 0
            found[str(horizon)] = {
                "forecasts": int(touched.size),
                "brier_skill_percent": skill_percent(loss, base),
                "interval": list(skill_interval(loss, base, dates, horizon)),
                "diebold_mariano": diebold_mariano(loss, base, dates, horizon),
                "over_twice_tail_percent": skill_percent(loss, other),
                "over_twice_tail_interval": list(skill_interval(loss, other, dates, horizon)),
                "by_year_percent": {
                    str(y): skill_percent(loss[years == y], base[years == y]) for y in np.unique(years)
                },
                "calibration_error": calibration_error(bins),
                "calibration_error_lognormal": calibration_error(
                    calibration_bins(plain[known, :, j].reshape(-1), touched.reshape(-1) > 0)
                ),
                "calibration_error_twice_tail": calibration_error(
                    calibration_bins(tail[known, :, j].reshape(-1), touched.reshape(-1) > 0)
                ),
                "bias_up": 100 * float((mine - touched)[:, up].mean()),
                "bias_down": 100 * float((mine - touched)[:, ~up].mean()),
                "bins": [
                    {"low": b.low, "count": b.count, "forecast": b.forecast, "observed": b.observed}
                    for b in bins
                ],
            }
        return found


def _twice_the_tail(table: Floats, levels: Floats) -> Floats:
    """Return twice the probability of a close beyond each level, at most 1, (levels, horizons).

    `table` (H, P) has the quantiles of the closing price at the probabilities `levels` (P,).
    """
    below = np.stack([np.interp(LOG_LEVELS, row, levels, left=0.0, right=1.0) for row in table], axis=1)
    beyond = np.where(LOG_LEVELS[:, None] > 0, 1 - below, below)
    return np.asarray(np.minimum(1.0, 2 * beyond))
