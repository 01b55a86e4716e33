"""Simple baselines: last price, moving averages, trend, and a Gaussian random walk."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from coincast_modelkit import rolling as k
from coincast_modelkit.candles import Candles, Panel
from coincast_modelkit.forecasts import PROBABILITIES
from coincast_training.evaluation.options import MIN_HISTORY_DAYS, EvaluationPlan
from coincast_training.evaluation.rows import Rows, join_rows, point_rows
from coincast_training.trainers.progress import Progress

Floats = NDArray[np.float64]
AVERAGES = (7, 14, 30)
TREND_DAYS = 30
GAUSS_DAYS = 60


def walk_simple(panel: Panel, plan: EvaluationPlan, progress: Progress) -> Rows:
    """Return the rows of random walk, moving averages, trend line and 60-day Gaussian random walk."""
    parts = []
    for i, (coin, candles) in enumerate(panel.items()):
        at = origins_of(candles, plan)
        days, price = candles.dates[at], candles.close[at]
        points = {"random_walk": price, "trend_30": _trend(candles)[at]}
        points |= {f"moving_average_{n}": k.rolling_mean(candles.close, n)[at] for n in AVERAGES}
        sigma = k.rolling_std(k.difference(np.log(candles.close), 1), GAUSS_DAYS - 1)[at]
        for h in plan.horizons:
            parts += [
                point_rows(
                    name,
                    coin,
                    origin=days,
                    horizon=h,
                    last_price=price,
                    point=_ahead(name, value, price, h),
                )
                for name, value in points.items()
            ]
            parts.append(_gauss(coin, days, h, price, sigma))
        progress((i + 1) / len(panel), f"simple baselines of {coin}")
    return join_rows(parts)


def origins_of(candles: Candles, plan: EvaluationPlan) -> NDArray[np.int64]:
    """Return the indices of a coin's origins: in the test period, and after MIN_HISTORY_DAYS days."""
    inside = (candles.dates >= plan.first) & (candles.dates <= plan.last)
    rows = np.flatnonzero(inside)
    return rows[rows >= MIN_HISTORY_DAYS - 1]


def _ahead(name: str, value: Floats, price: Floats, horizon: int) -> Floats:
    """Return the value at the horizon: a trend continues, other baselines stay constant."""
    return price * np.exp(value * horizon) if name.startswith("trend") else value


def _trend(candles: Candles) -> Floats:
    """Return the slope per day of a least-squares line through the last TREND_DAYS log closes, (n,)."""
    x = np.arange(TREND_DAYS) - (TREND_DAYS - 1) / 2
    slope = np.convolve(np.log(candles.close), x[::-1] / (x @ x), mode="valid")
    return np.concatenate([np.full(len(candles) - len(slope), np.nan), slope])


def _gauss(coin: str, days: NDArray[np.datetime64], horizon: int, price: Floats, sigma: Floats) -> Rows:
    width = sigma * np.sqrt(horizon)
    quantiles = width[:, None] * ndtri(PROBABILITIES)
    return point_rows(
        "gaussian_rw_60",
        coin,
        origin=days,
        horizon=horizon,
        last_price=price,
        point=price,
        quantiles=quantiles,
        variance=width**2,
    )
