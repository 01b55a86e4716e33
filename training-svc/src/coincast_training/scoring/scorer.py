"""Score forecasts against the actual close. Pure."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from coincast_modelkit.candles import Candles
from coincast_training.pipeline.losses import TRAILING_DAYS, gaussian_crps, quantile_crps

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Scored:
    """Scored rows, rows that wait for their day or its close, and expired rows."""

    scored: list[Row]
    waiting: list[Row]
    expired: list[Row]


def score_rows(
    rows: list[Row], histories: dict[str, Candles], *, newest: dt.date, now: float, expire_days: int = 30
) -> Scored:
    """Score rows and split them by outcome; `histories` holds candles in the rows' currency.

    A row expires once the source's newest closed day lies more than `expire_days` past its due day.
    """
    scored, waiting, expired = [], [], []
    for row in rows:
        candles = histories.get(row["coin_id"])
        score = _score(row, candles) if candles is not None else None
        if score is not None:
            scored.append(row | score | {"scored_at": now})
        elif (newest - dt.date.fromisoformat(row["due"])).days > expire_days:
            expired.append(row)
        else:
            waiting.append(row)
    return Scored(scored, waiting, expired)


def _score(row: Row, candles: Candles) -> Row | None:
    """Return the columns that a score adds, or None if the close is missing."""
    due = np.datetime64(row["due"], "D")
    at = int(np.searchsorted(candles.dates, due))
    if at >= len(candles) or candles.dates[at] != due:
        return None
    actual = float(candles.close[at])
    probabilities, quantiles = np.array(row["probabilities"]), np.array(row["price_quantiles"])
    returns = np.log(np.maximum(quantiles, np.finfo(float).tiny) / row["last_price"])
    came = math.log(actual / row["last_price"])
    median = _at(0.5, probabilities, quantiles)
    return {
        "actual": actual,
        "median": median,
        "absolute_error": abs(actual - median),
        "random_walk_error": abs(actual - row["last_price"]),
        "crps": float(quantile_crps(returns[None, :], probabilities, np.array([came]))[0]),
        **_walk(row, candles, came),
        "inside_80": _inside(actual, 0.1, probabilities, quantiles),
        "inside_95": _inside(actual, 0.025, probabilities, quantiles),
    }


def _walk(row: Row, candles: Candles, came: float) -> Row:
    """Score the rolling Gaussian random walk on the same forecast, and the mean one-day step before it."""
    before = candles.until(np.datetime64(row["as_of"], "D")).tail(TRAILING_DAYS + 1).close
    if len(before) <= TRAILING_DAYS // 2:
        return {"random_walk_crps": None, "naive_step": None}
    sigma = float(np.diff(np.log(before)).std()) * math.sqrt(row["horizon_days"])
    walk = float(gaussian_crps(np.array([sigma]), np.array([came]))[0]) if sigma > 0 else None
    return {"random_walk_crps": walk, "naive_step": float(np.abs(np.diff(before)).mean())}


def _inside(actual: float, tail: float, probabilities: Any, quantiles: Any) -> bool | None:
    """Return whether the central interval held the outcome; None without the quantiles for it."""
    if probabilities[0] > tail or probabilities[-1] < 1 - tail:
        return None
    return _at(tail, probabilities, quantiles) <= actual <= _at(1 - tail, probabilities, quantiles)


def _at(probability: float, probabilities: Any, quantiles: Any) -> float:
    return float(np.interp(probability, probabilities, quantiles))
