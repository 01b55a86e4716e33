"""Measure what hourly features add to the daily ensemble at the close: forecasts with hours against without.

Both forecasts are of the same fitted model. They are scored on real returns, and on returns with random
signs: each hourly return keeps its size and gets a random sign, the same for all coins. Hourly features tell
something about sizes and nothing about signs, so that random signs test the same effect. At one day the noise
of this test is about half as large.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from coincast_modelkit.candles import Floats
from coincast_modelkit.forecasts import PROBABILITIES
from coincast_modelkit.hourly.candles import HOURS_A_DAY, HourlyPanel
from coincast_modelkit.hourly.volatility import hourly_returns, hourly_variance
from coincast_training.evaluation.acceptance import acceptance_entry
from coincast_training.evaluation.metrics.significance import diebold_mariano, skill_interval, skill_percent
from coincast_training.evaluation.own_models import WITH_HOURS
from coincast_training.evaluation.rows import Rows
from coincast_training.hourly.scores import crps

DRAWS = 24
# Bounds (must, aim) at one day: CRPS skill with random signs and on real returns, and QLIKE gain on summed
# hourly ranges, all in percent.
REDRAWN, REAL, QLIKE = (0.10, 0.25), (0.0, 0.15), (2.0, 5.0)
LEAST_DM = 3.0


def hours_ahead(panel: HourlyPanel, rows: Rows, days: int) -> tuple[Floats, Floats]:
    """Return the hourly returns (n, 24 x days) after the close of each row, and their variance (n,).

    A missing hour counts as a return of 0. Both are NaN if the days have not ended.
    """
    hours = HOURS_A_DAY * days
    moves, variance = np.full((len(rows), hours), np.nan), np.full(len(rows), np.nan)
    for coin, candles in panel.items():
        mine = np.flatnonzero(rows.coin == coin)
        closes = rows.origin[mine].astype("datetime64[D]").astype(np.int64) + 1
        start = closes * HOURS_A_DAY - int(candles.first.astype(np.int64))
        inside = (start >= 0) & (start + hours <= len(candles))
        at = start[inside, None] + np.arange(hours)
        moves[mine[inside]] = np.nan_to_num(hourly_returns(candles))[at]
        known = hourly_variance(candles)[at]
        share = np.isfinite(known).mean(axis=1)
        variance[mine[inside]] = np.nansum(known, axis=1) / np.maximum(share, 1 / hours)
    return moves, variance


def signs(origins: NDArray[np.datetime64], hours: int, draws: int, seed: int) -> NDArray[np.int8]:
    """Return random signs (n, draws, hours) of the hours after each origin, the same for all coins."""
    days = origins.astype("datetime64[D]").astype(np.int64)
    first = int(days.min())
    count = (int(days.max()) - first) * HOURS_A_DAY + hours
    random_signs = np.random.default_rng(seed).choice(np.array([-1, 1], dtype=np.int8), size=(draws, count))
    at = ((days - first) * HOURS_A_DAY)[:, None] + np.arange(hours)
    return np.asarray(random_signs[:, at].swapaxes(0, 1))


def compare_at_close(made: Rows, panel: HourlyPanel, *, seed: int, draws: int = DRAWS) -> dict[int, Any]:
    """Compare forecasts with and without hours, by horizon in days; empty if the model never read hours.

    Args:
        made: Forecasts of the ensemble; those with hours have its name plus WITH_HOURS.
        panel: Hourly candles of the coins, with the hours after the origins.
        seed: Seed of the random signs.
        draws: Number of random signs for each hour.
    """
    out = {}
    named = np.char.endswith(made.model, WITH_HOURS)
    for days in np.unique(made.horizon[named]):
        with_hours, without = (made.take((named == flag) & (made.horizon == days)) for flag in (True, False))
        with_hours, without = _paired(with_hours, without)
        moves, variance = hours_ahead(panel, with_hours, int(days))
        known = np.isfinite(moves).all(axis=1) & np.isfinite(variance)
        with_hours, without = with_hours.take(known), without.take(known)
        out[int(days)] = _scores((with_hours, without), moves[known], variance[known], seed, draws)
    return out


def _paired(one: Rows, other: Rows) -> tuple[Rows, Rows]:
    """Return the rows of both tables with the same coin and day, in the same order."""

    def keys(rows: Rows) -> NDArray[np.str_]:
        return np.char.add(np.char.add(rows.coin, " "), rows.origin.astype(str))

    _, a, b = np.intersect1d(keys(one), keys(other), return_indices=True)
    return one.take(a), other.take(b)


def _scores(
    pair: tuple[Rows, Rows], moves: Floats, variance: Floats, seed: int, draws: int
) -> dict[str, Any]:
    origins, days = pair[0].origin, int(pair[0].horizon[0])
    dates = origins.astype("datetime64[D]")
    one = np.ones(len(moves))
    sizes = [rows.quantiles[:, len(PROBABILITIES) // 2 :].astype(np.float64) for rows in pair]
    real = [crps(moves.sum(axis=1), one, s) for s in sizes]
    redrawn = [np.zeros(len(moves)), np.zeros(len(moves))]
    random_signs = signs(origins, moves.shape[1], draws, seed)
    for k in range(draws):
        returns = (random_signs[:, k] * np.abs(moves)).sum(axis=1)
        redrawn = [loss + crps(returns, one, s) / draws for loss, s in zip(redrawn, sizes, strict=True)]
    # The models forecast the variance of daily ranges, whose level differs from that of hourly ranges. Each
    # is therefore scaled to the right mean level before the comparison.
    shares = [variance / rows.variance for rows in pair]
    qlike = [s / s.mean() - np.log(s / s.mean()) - 1 for s in shares]
    changed = (sizes[0] != sizes[1]).any(axis=1)
    return {
        "forecasts": len(moves),
        "with_hours_percent": 100 * float(changed.mean()),
        "redrawn": _skill(redrawn[0], redrawn[1], dates, days),
        "real": _skill(real[0], real[1], dates, days),
        "qlike": _skill(qlike[0], qlike[1], dates, days),
    }


def _skill(loss: Floats, baseline: Floats, dates: NDArray[np.datetime64], days: int) -> dict[str, Any]:
    years = dates.astype("datetime64[Y]")
    return {
        "skill_percent": skill_percent(loss, baseline),
        "interval": skill_interval(loss, baseline, dates, days),
        "diebold_mariano": diebold_mariano(loss, baseline, dates, days),
        "by_year_percent": {
            str(y): skill_percent(loss[years == y], baseline[years == y]) for y in np.unique(years)
        },
    }


def goals_at_close(found: dict[int, Any]) -> list[dict[str, Any]]:
    """Return the acceptance criteria; the value is None if it was not measured."""
    day = found.get(1, {})
    text = "at the close, 1 d, ml_ensemble with hours over the same without"

    def value(name: str, key: str = "skill_percent") -> float | None:
        return day[name][key] if day else None

    return [
        acceptance_entry(f"{text}, CRPS skill %, random signs", value("redrawn"), *REDRAWN),
        acceptance_entry(
            f"{text}, its Diebold-Mariano statistic", value("redrawn", "diebold_mariano"), LEAST_DM, None
        ),
        acceptance_entry(f"{text}, CRPS skill %, real returns", value("real"), *REAL),
        acceptance_entry(f"{text}, QLIKE on summed hourly ranges, % better", value("qlike"), *QLIKE),
    ]
