"""Score forecasts against the actual close of their day or hour."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from coincast_modelkit.candles import Candles
from coincast_modelkit.hourly.candles import HOURS_A_DAY, HourlyCandles, HourlyPanel, as_hour
from coincast_modelkit.hourly.volatility import hourly_returns
from coincast_modelkit.ledger import close_of
from coincast_training.pipeline.losses import TRAILING_DAYS, gaussian_crps, quantile_crps

Row = dict[str, Any]
# The baseline of an hourly forecast is a Gaussian of this many past hourly returns.
TRAILING_HOURS = 168


@dataclass(frozen=True, slots=True)
class Scored:
    """Scored rows, rows that still wait for their outcome, and expired rows."""

    scored: list[Row]
    waiting: list[Row]
    expired: list[Row]


def score_rows(
    rows: list[Row],
    histories: Mapping[str, Candles],
    *,
    hours: HourlyPanel | None = None,
    newest: dt.date,
    now: float,
    expire_days: int = 30,
) -> Scored:
    """Score the rows with a known outcome, and return them with the waiting and the expired rows.

    A row expires if it has no outcome and the newest closed day is more than `expire_days` after its due day.

    Args:
        rows: Daily and hourly forecasts.
        histories: Daily candles in the currency of the rows, by coin.
        hours: Hourly candles in the currency of the rows, for hourly forecasts.
        newest: The newest closed day of the source.
        now: Time of the scores, in UNIX seconds.
        expire_days: Days that a row waits for its close.
    """
    scored, waiting, expired = [], [], []
    for row in rows:
        score = _score(row, histories, hours or {})
        if score is not None:
            scored.append(row | score | {"scored_at": now})
        elif (newest - dt.date.fromisoformat(row["due"])).days > expire_days:
            expired.append(row)
        else:
            waiting.append(row)
    return Scored(scored, waiting, expired)


def starts_at(row: Row) -> dt.datetime:
    """Return the time (UTC) at which a forecast starts."""
    return close_of(row["as_of"]) + dt.timedelta(hours=row["as_of_hours"])


def due_at(row: Row) -> dt.datetime:
    """Return the time (UTC) whose price an hourly forecast predicts."""
    return starts_at(row) + dt.timedelta(hours=row["horizon_hours"])


def _score(row: Row, histories: Mapping[str, Candles], hours: HourlyPanel) -> Row | None:
    """Return the columns that a score adds to a row; None if the close is missing."""
    if row["horizon_hours"]:
        hourly = hours.get(row["coin_id"])
        actual = _hour_close(hourly, due_at(row)) if hourly is not None else None
        return _against(row, actual, _hour_steps(row, hourly)) if hourly is not None and actual else None
    candles = histories.get(row["coin_id"])
    if candles is None:
        return None
    due = np.datetime64(row["due"], "D")
    at = int(np.searchsorted(candles.dates, due))
    if at >= len(candles) or candles.dates[at] != due:
        return None
    return _against(row, float(candles.close[at]), _day_steps(row, candles))


def _hour_close(candles: HourlyCandles, moment: dt.datetime) -> float | None:
    """Return the close of the hour that ends at `moment`; None if it is unknown."""
    if not len(candles):
        return None
    at = int((as_hour(moment) - candles.first).astype(np.int64)) - 1
    known = 0 <= at < len(candles) and math.isfinite(candles.close[at])
    return float(candles.close[at]) if known else None


@dataclass(frozen=True, slots=True)
class _Steps:
    """The baseline of a forecast: a random walk, estimated from the prices before the forecast.

    Attributes:
        sigma: Standard deviation of the log return over the horizon; None if too few prices are known.
        naive_step: Mean absolute price change per day or hour; None if too few prices are known.
    """

    sigma: float | None
    naive_step: float | None


def _against(row: Row, actual: float, steps: _Steps) -> Row:
    """Return the scores of a forecast and of its baseline against the actual price."""
    probabilities, quantiles = np.array(row["probabilities"]), np.array(row["price_quantiles"])
    returns = np.log(np.maximum(quantiles, np.finfo(float).tiny) / row["last_price"])
    actual_return = math.log(actual / row["last_price"])
    median = _at(0.5, probabilities, quantiles)
    return {
        "actual": actual,
        "median": median,
        "absolute_error": abs(actual - median),
        "random_walk_error": abs(actual - row["last_price"]),
        "crps": float(quantile_crps(returns[None, :], probabilities, np.array([actual_return]))[0]),
        "random_walk_crps": _walk_crps(steps.sigma, actual_return),
        "naive_step": steps.naive_step,
        "inside_80": _inside(actual, 0.1, probabilities, quantiles),
        "inside_95": _inside(actual, 0.025, probabilities, quantiles),
    }


def _day_steps(row: Row, candles: Candles) -> _Steps:
    """Return the baseline of a daily forecast: a Gaussian of the last 60 daily returns.

    It covers the time from the start of the forecast to the close of the due day.
    """
    before = candles.until(np.datetime64(row["as_of"], "D")).tail(TRAILING_DAYS + 1).close
    if len(before) <= TRAILING_DAYS // 2:
        return _Steps(None, None)
    days = row["horizon_days"] - row["as_of_hours"] / HOURS_A_DAY
    sigma = float(np.diff(np.log(before)).std()) * math.sqrt(days)
    return _Steps(sigma, float(np.abs(np.diff(before)).mean()))


def _hour_steps(row: Row, candles: HourlyCandles) -> _Steps:
    """Return the baseline of an hourly forecast: a Gaussian of the hourly returns of the last 7 days."""
    before = candles.until(starts_at(row)).tail(TRAILING_HOURS + 1)
    returns = hourly_returns(before)
    known = np.isfinite(returns)
    if known.sum() <= TRAILING_HOURS // 2:
        return _Steps(None, None)
    sigma = math.sqrt(float(np.mean(returns[known] ** 2)) * row["horizon_hours"])
    return _Steps(sigma, float(np.mean(before.close[known] * np.abs(np.expm1(-returns[known])))))


def _walk_crps(sigma: float | None, actual_return: float) -> float | None:
    return float(gaussian_crps(np.array([sigma]), np.array([actual_return]))[0]) if sigma else None


def _inside(actual: float, tail: float, probabilities: Any, quantiles: Any) -> bool | None:
    """Return whether the outcome is inside the central interval; None without the necessary quantiles."""
    if probabilities[0] > tail or probabilities[-1] < 1 - tail:
        return None
    return _at(tail, probabilities, quantiles) <= actual <= _at(1 - tail, probabilities, quantiles)


def _at(probability: float, probabilities: Any, quantiles: Any) -> float:
    return float(np.interp(probability, probabilities, quantiles))
