"""Significance of a difference: Diebold-Mariano test with HAC errors, and bootstrap over blocks of dates.

Forecasts are not independent observations: targets overlap and coins move together. Both methods therefore
work on the mean of each date, and allow for correlation over the horizon.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from coincast_training.optional_imports import OPTIONAL_FOR_ARCH, hidden

Floats = NDArray[np.float64]
REPETITIONS = 400
MIN_DATES = 12


def date_sums(values: Floats, dates: NDArray[np.datetime64]) -> tuple[Floats, Floats]:
    """Return the sum and the number of the values (n,) of each date, both (D,), in order of the dates."""
    _, at = np.unique(dates, return_inverse=True)
    return np.asarray(np.bincount(at, weights=values), dtype=np.float64), np.bincount(at).astype(np.float64)


def hac_mean(values: Floats, dates: NDArray[np.datetime64], horizon: int) -> tuple[float, float]:
    """Return the mean of the date means and its HAC standard error (Newey and West 1987).

    The error is NaN with fewer than MIN_DATES dates, or if all means are equal.
    """
    from statsmodels.regression.linear_model import OLS  # noqa: PLC0415 - slow to import

    total, count = date_sums(values, dates)
    means = total / count
    if len(means) < MIN_DATES or np.ptp(means) == 0:
        return (float(means.mean()) if len(means) else float("nan")), float("nan")
    lags = min(max(int(1.5 * horizon), round(len(means) ** (1 / 3))), len(means) // 2)
    fit = OLS(means, np.ones(len(means))).fit(cov_type="HAC", cov_kwds={"maxlags": lags})
    return float(fit.params[0]), float(fit.bse[0])


def diebold_mariano(loss: Floats, baseline: Floats, dates: NDArray[np.datetime64], horizon: int) -> float:
    """Return the Diebold-Mariano statistic (1995); positive if `loss` is smaller, NaN without an error."""
    mean, error = hac_mean(baseline - loss, dates, horizon)
    return mean / error if error > 0 else float("nan")


def skill_percent(loss: Floats, baseline: Floats) -> float:
    """Return 100 (1 - mean loss / mean baseline); NaN if the mean of the baseline is not positive."""
    base = float(baseline.mean()) if len(baseline) else 0.0
    return 100 * (1 - float(loss.mean()) / base) if base > 0 else float("nan")


def ratio_interval(
    upper: Floats, lower: Floats, dates: NDArray[np.datetime64], horizon: int, *, seed: int = 1
) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of sum(upper) / sum(lower), from circular blocks of dates.

    `upper`, `lower` and `dates` are (n,). The result is NaN with fewer than MIN_DATES dates.
    """
    top, _ = date_sums(upper, dates)
    bottom, _ = date_sums(lower, dates)
    if len(top) < MIN_DATES:
        return float("nan"), float("nan")
    drawn = _resamples(len(top), min(max(10, 2 * horizon), len(top) // 3), seed)
    above, below = top[drawn].sum(axis=1), bottom[drawn].sum(axis=1)
    ratios = np.divide(above, below, out=np.full(len(drawn), np.nan), where=below != 0)
    low, high = np.nanquantile(ratios, [0.025, 0.975])
    return float(low), float(high)


@lru_cache(maxsize=8)
def _resamples(dates: int, block: int, seed: int) -> NDArray[np.int64]:
    """Return the positions of the dates in each resample, (REPETITIONS, dates).

    They do not depend on the losses, and an evaluation compares hundreds of models on the same dates.
    """
    with hidden(OPTIONAL_FOR_ARCH):
        from arch.bootstrap import CircularBlockBootstrap  # noqa: PLC0415 - slow to import

    bootstrap = CircularBlockBootstrap(block, np.arange(dates), seed=seed)
    drawn = np.stack([positional[0] for positional, _ in bootstrap.bootstrap(REPETITIONS)])
    drawn.setflags(write=False)
    return drawn


def skill_interval(
    loss: Floats, baseline: Floats, dates: NDArray[np.datetime64], horizon: int
) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of `skill_percent`."""
    low, high = ratio_interval(loss, baseline, dates, horizon)
    return 100 * (1 - high), 100 * (1 - low)
