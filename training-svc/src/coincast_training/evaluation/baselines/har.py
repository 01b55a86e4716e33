"""The HAR baseline: Corsi's HAR on range volatility, pooled over coins, with empirical residuals.

It is the benchmark for forecasts of the direction of volatility.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from coincast_modelkit import rolling as k
from coincast_modelkit.candles import Candles, Panel
from coincast_modelkit.intervals import symmetric_quantiles, weighted_sizes
from coincast_modelkit.models.ensemble.model import LEVELS
from coincast_modelkit.volatility import TRAILING_MIN_DAYS, daily_variance
from coincast_training.evaluation.baselines.simple import origins_of
from coincast_training.evaluation.options import EvaluationPlan
from coincast_training.evaluation.rows import Rows, join_rows, point_rows
from coincast_training.trainers.progress import Progress

Floats = NDArray[np.float64]
SPANS = (1, 7, 30)
MIN_ROWS = 60


def realised_ahead(candles: Candles, horizon: int) -> Floats:
    """Return the variance summed over the next `horizon` days, (n,); NaN where they are not over."""
    out = np.full(len(candles), np.nan)
    if len(candles) > horizon:
        out[:-horizon] = np.convolve(daily_variance(candles), np.ones(horizon), mode="valid")[1:]
    return out


def trailing_log(candles: Candles, horizon: int) -> Floats:
    """Return the log of the daily volatility realised over the last max(7, h) days, (n,)."""
    return 0.5 * k.log_of(k.rolling_mean(daily_variance(candles), max(TRAILING_MIN_DAYS, horizon)))


def _terms(candles: Candles) -> Floats:
    """Return the design (n, 4): a constant and the log volatilities of SPANS."""
    variance = daily_variance(candles)
    spans = [0.5 * k.log_of(k.rolling_mean(variance, n)) for n in SPANS]
    return np.column_stack([np.ones(len(candles)), *spans])


def walk_har(panel: Panel, plan: EvaluationPlan, progress: Progress) -> Rows:
    """Return the rows of `har`, refitted at every cut on the data known by then.

    Raises:
        ValueError: No fit was possible.
    """
    terms = {coin: _terms(candles) for coin, candles in panel.items()}
    parts = []
    for j, h in enumerate(plan.horizons):
        ahead = {coin: realised_ahead(candles, h) for coin, candles in panel.items()}
        for cut in plan.cuts():
            parts += _one_cut(panel=panel, plan=plan, terms=terms, ahead=ahead, h=h, cut=cut)
        progress((j + 1) / len(plan.horizons), f"HAR at {h} days")
    return join_rows(parts)


def _one_cut(
    *,
    panel: Panel,
    plan: EvaluationPlan,
    terms: Mapping[str, Floats],
    ahead: Mapping[str, Floats],
    h: int,
    cut: np.datetime64,
) -> list[Rows]:
    x, y, moves = [], [], []
    for coin, candles in panel.items():
        known = candles.dates + np.timedelta64(h, "D") <= cut
        rows = np.flatnonzero(known & np.isfinite(terms[coin]).all(axis=1) & np.isfinite(ahead[coin]))
        x.append(terms[coin][rows])
        y.append(0.5 * np.log(ahead[coin][rows] / h))
        moves.append(np.log(candles.close[rows + h] / candles.close[rows]))
    design, target, moved = (np.concatenate(part) for part in (x, y, moves))
    if len(target) < MIN_ROWS:
        return []
    line = np.linalg.lstsq(design, target, rcond=None)[0]
    error = target - design @ line
    sizes = weighted_sizes(moved / np.exp(design @ line), np.ones(len(moved)), LEVELS)
    spread = float(error.std())
    days = set(plan.days_of(cut))
    out = []
    for coin, candles in panel.items():
        at = np.array([r for r in origins_of(candles, plan) if candles.dates[r] in days], dtype=np.int64)
        if not len(at):
            continue
        log_volatility = terms[coin][at] @ line
        price = candles.close[at]
        out.append(
            point_rows(
                "har",
                coin,
                origin=candles.dates[at],
                horizon=h,
                last_price=price,
                point=price,
                quantiles=symmetric_quantiles(np.exp(log_volatility)[:, None] * sizes),
                variance=h * np.exp(2 * log_volatility + 2 * spread**2),
                volatility_rise=ndtr((log_volatility - trailing_log(candles, h)[at]) / spread),
            )
        )
    return out
