"""Compare a risk statement with the candles of each of its days."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from coincast_modelkit.candles import Candles
from coincast_modelkit.scenarios.live_record import CLOSE_BEYOND, EXCEEDANCE, TOUCH
from coincast_modelkit.scenarios.statements import LossStatement, RiskStatement, TouchStatement


@dataclass(frozen=True, slots=True)
class Outcome:
    """One scored probability.

    Attributes:
        kind: TOUCH, CLOSE_BEYOND or EXCEEDANCE.
        horizon_days: Days ahead.
        promised: The stated probability.
        came_true: Whether the event happened.
        level_percent: Level of the value at risk; None for touches.
        loss_over_shortfall: Loss divided by expected shortfall if the value at risk was exceeded; else None.
    """

    kind: str
    horizon_days: int
    promised: float
    came_true: bool
    level_percent: float | None = None
    loss_over_shortfall: float | None = None


def first_due(statement: RiskStatement) -> dt.date:
    """Return the first day whose close decides a probability of the statement."""
    ahead = statement.first_day if isinstance(statement, TouchStatement) else statement.days
    return dt.date.fromisoformat(statement.as_of) + dt.timedelta(days=ahead)


def last_due(statement: RiskStatement) -> dt.date:
    """Return the last day whose close decides a probability of the statement."""
    ahead = statement.last_day if isinstance(statement, TouchStatement) else statement.days
    return dt.date.fromisoformat(statement.as_of) + dt.timedelta(days=ahead)


def outcomes_of(
    statement: RiskStatement, day: dt.date, histories: Mapping[str, Candles]
) -> list[Outcome] | None:
    """Return the outcomes that the close of one day decides; None while a necessary candle is missing.

    Args:
        statement: The statement.
        day: One of its days, from `first_due` to `last_due`.
        histories: Candles in the currency of the statement, by coin.
    """
    if isinstance(statement, TouchStatement):
        return _touch(statement, day, histories)
    return _losses(statement, day, histories)


def _touch(statement: TouchStatement, day: dt.date, histories: Mapping[str, Candles]) -> list[Outcome] | None:
    as_of = dt.date.fromisoformat(statement.as_of)
    horizon = (day - as_of).days
    candles = histories.get(statement.coin_id)
    after = None if candles is None else _days_between(candles, as_of, day)
    if after is None or len(after) != horizon:
        return None
    up = statement.level >= statement.last_price
    close = float(after.close[-1])
    at = horizon - statement.first_day
    found = [
        Outcome(
            CLOSE_BEYOND,
            horizon,
            statement.close_beyond[at],
            close >= statement.level if up else close <= statement.level,
        )
    ]
    extremes = after.high if up else after.low
    # Without high and low, a day may have had a touch that its close does not show. Counting only the touches
    # that closes prove would be biased, so such a statement is not scored.
    if np.isfinite(extremes).all():
        reached = np.fmax(extremes, after.close).max() if up else np.fmin(extremes, after.close).min()
        came = bool(reached >= statement.level if up else reached <= statement.level)
        found.append(Outcome(TOUCH, horizon, statement.touch[at], came))
    return found


def _losses(statement: LossStatement, day: dt.date, histories: Mapping[str, Candles]) -> list[Outcome] | None:
    change = 0.0
    for coin, weight in statement.weights.items():
        candles = histories.get(coin)
        close = None if candles is None else _close_on(candles, day)
        if close is None:
            return None
        change += weight * (close / statement.last_prices[coin] - 1)
    found = []
    for level, value_at_risk, shortfall in statement.levels:
        exceeded = change < -value_at_risk
        ratio = -change / shortfall if exceeded and shortfall > 0 else None
        found.append(
            Outcome(
                EXCEEDANCE,
                statement.days,
                promised=1 - level / 100,
                came_true=exceeded,
                level_percent=round(level, 1),
                loss_over_shortfall=ratio,
            )
        )
    return found


def _days_between(candles: Candles, after: dt.date, until: dt.date) -> Candles:
    """Return the candles of the days after `after`, up to and including `until`."""
    start = int(np.searchsorted(candles.dates, np.datetime64(after, "D"), side="right"))
    stop = int(np.searchsorted(candles.dates, np.datetime64(until, "D"), side="right"))
    return candles.rows(start, stop)


def _close_on(candles: Candles, day: dt.date) -> float | None:
    at = int(np.searchsorted(candles.dates, np.datetime64(day, "D")))
    if at >= len(candles) or candles.dates[at] != np.datetime64(day, "D"):
        return None
    return float(candles.close[at])
