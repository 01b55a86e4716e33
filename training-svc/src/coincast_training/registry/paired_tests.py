"""Diebold-Mariano tests of the losses of two versions on the same coins, days and horizons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from coincast_modelkit.hourly.candles import HOURS_A_DAY
from coincast_training.pipeline import losses
from coincast_training.trainers.base import WalkForward

Floats = NDArray[np.float64]
MIN_DATES = 10
MOST_DAYS, MOST_HORIZONS = 1_000_000, 10_000


class Horizon(Protocol):
    """A value with a horizon, either in days or in hours; the other one is 0."""

    @property
    def horizon_days(self) -> int:
        """Return the horizon in days, or 0."""
        ...

    @property
    def horizon_hours(self) -> int:
        """Return the horizon in hours, or 0."""
        ...


@dataclass(frozen=True, slots=True)
class PairedTest:
    """The test of one loss at one horizon, in days or in hours; the statistic is positive if b is better."""

    horizon_days: int
    loss: str
    forecasts: int
    days: int
    mean_loss_a: float
    mean_loss_b: float
    statistic: float
    p_value: float
    horizon_hours: int = 0


def paired_tests(a: WalkForward, b: WalkForward, *, hourly: bool = False) -> list[PairedTest]:
    """Test each horizon on the coins and days that both versions forecast.

    Rows with a missing loss in either version are left out.

    Args:
        a: Forecasts of one version.
        b: Forecasts of the other.
        hourly: Whether horizons are in hours.
    """
    at_a, at_b = _common(a, b)
    horizons, origins = a.horizons[at_a], a.origins[at_a]
    tests = []
    for name, loss in (("crps", losses.crps), ("absolute_error", _relative_error)):
        loss_a, loss_b = loss(a)[at_a], loss(b)[at_b]
        whole = np.isfinite(loss_a) & np.isfinite(loss_b)
        for horizon in np.unique(horizons[whole]):
            rows = whole & (horizons == horizon)
            overlap_days = -(-int(horizon) // HOURS_A_DAY) if hourly else int(horizon)
            test = _test(name, loss_a[rows], loss_b[rows], origins[rows], overlap_days=overlap_days)
            days, hours = (0, int(horizon)) if hourly else (int(horizon), 0)
            tests.append(replace(test, horizon_days=days, horizon_hours=hours))
    return tests


def _relative_error(forecast: WalkForward) -> Floats:
    """Return the absolute error divided by the last price, so that expensive coins do not dominate."""
    return losses.absolute_error(forecast) / forecast.last_prices


def _common(a: WalkForward, b: WalkForward) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of a and of b with the same coin, origin and horizon, in the same order."""
    coins = np.unique(np.concatenate([a.coin_ids, b.coin_ids]))
    _, at_a, at_b = np.intersect1d(_keys(a, coins), _keys(b, coins), return_indices=True)
    return at_a, at_b


def _keys(forecast: WalkForward, coins: NDArray[np.str_]) -> NDArray[np.int64]:
    """Return one integer key for each row.

    Integers match fast, which matters while the registry is locked.
    """
    days = forecast.origins.astype("datetime64[D]").astype(np.int64)
    coin = np.searchsorted(coins, forecast.coin_ids).astype(np.int64)
    return np.asarray((coin * MOST_DAYS + days) * MOST_HORIZONS + forecast.horizons)


def _test(
    name: str, loss_a: Floats, loss_b: Floats, origins: NDArray[np.datetime64], *, overlap_days: int
) -> PairedTest:
    """Test the daily means of a loss; the caller sets the horizon.

    Daily means are used since coins move together. The variance is that of Newey and West over the days of
    the horizon, since targets overlap.
    """
    days, day_of_row = np.unique(origins, return_inverse=True)
    daily = np.bincount(day_of_row, weights=loss_a - loss_b) / np.bincount(day_of_row)
    enough = len(days) >= MIN_DATES
    statistic, p_value = diebold_mariano(daily, lags=overlap_days - 1) if enough else (0.0, 1.0)
    return PairedTest(
        horizon_days=0,
        loss=name,
        forecasts=len(loss_a),
        days=len(days),
        mean_loss_a=float(loss_a.mean()),
        mean_loss_b=float(loss_b.mean()),
        statistic=statistic,
        p_value=p_value,
    )


def diebold_mariano(differences: Floats, *, lags: int) -> tuple[float, float]:
    """Test whether the mean is zero; return statistic and two-sided p-value (Diebold and Mariano 1995).

    The test has the small-sample correction of Harvey, Leybourne and Newbold 1997 and Bartlett weights.
    """
    n = len(differences)
    centred = differences - differences.mean()
    lags = min(lags, n - 2)
    variance = float(centred @ centred) / n
    for lag in range(1, lags + 1):
        variance += 2 * (1 - lag / (lags + 1)) * float(centred[lag:] @ centred[:-lag]) / n
    if variance <= 0:
        return 0.0, 1.0
    h = lags + 1
    correction = np.sqrt(max(1 / n, (n + 1 - 2 * h + h * (h - 1) / n) / n))
    statistic = float(differences.mean() / np.sqrt(variance / n) * correction)
    from scipy.special import stdtr  # noqa: PLC0415 - slow to import, only used here

    return statistic, float(2 * stdtr(n - 1, -abs(statistic)))


def verdict(a: str, b: str, tests: Sequence[PairedTest]) -> str:
    """Return a sentence that says which version is better, or that the difference is not significant."""
    if not tests:
        return f"{a} and {b} share no forecast, so they cannot be compared."
    significant = [
        test for test in tests if test.loss == "crps" and test.p_value < 0.05 / max(1, len(tests) // 2)
    ]
    for_b = [test for test in significant if test.statistic > 0]
    for_a = [test for test in significant if test.statistic < 0]
    if for_b and not for_a:
        return f"{b} is better by CRPS at {spans(for_b)}."
    if for_a and not for_b:
        return f"{a} is better by CRPS at {spans(for_a)}."
    if for_a and for_b:
        return f"{a} is better by CRPS at {spans(for_a)}, {b} at {spans(for_b)}."
    return f"The difference between {a} and {b} is not significant at 5 %."


def spans(horizons: Sequence[Horizon]) -> str:
    """Return horizons as text, such as `1, 7 days` or `6, 24 hours`."""
    days = ", ".join(str(h.horizon_days) for h in horizons if h.horizon_days)
    hours = ", ".join(str(h.horizon_hours) for h in horizons if h.horizon_hours)
    return " and ".join([f"{days} days"] * bool(days) + [f"{hours} hours"] * bool(hours)) or "no days"
