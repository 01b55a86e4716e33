"""Scores of risk answers: exceedances, tail losses, touch probabilities and joint distributions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
BINS = 10


def pinball(outcomes: Floats, quantiles: Floats, alpha: float) -> Floats:
    """Return the pinball loss of quantiles at probability alpha, elementwise (Koenker and Bassett 1978)."""
    gap = outcomes - quantiles
    return np.asarray(np.where(gap < 0, (alpha - 1) * gap, alpha * gap))


def fz0(outcomes: Floats, quantiles: Floats, shortfalls: Floats, alpha: float) -> Floats:
    """Return the FZ0 score of a quantile and a tail mean, both negative (Patton, Ziegel and Chen 2019)."""
    hit = (outcomes <= quantiles).astype(np.float64)
    return np.asarray(
        -hit * (quantiles - outcomes) / (alpha * shortfalls)
        + quantiles / shortfalls
        + np.log(-shortfalls)
        - 1
    )


def kupiec(hits: Flags, alpha: float) -> Floats:
    """Test over the first axis whether hits have the probability alpha; return the p-value (Kupiec 1995)."""
    n, x = len(hits), hits.sum(axis=0).astype(np.float64)
    share = x / n
    ratio = -2 * (_log_likelihood(n - x, x, alpha) - _log_likelihood(n - x, x, share))
    return np.asarray(chi2.sf(np.maximum(ratio, 0), 1))


def christoffersen(hits: Flags) -> float:
    """Test whether hits (T,) are independent of the day before; return the p-value (Christoffersen 1998)."""
    before, after = hits[:-1], hits[1:]
    n00, n01 = float(np.sum(~before & ~after)), float(np.sum(~before & after))
    n10, n11 = float(np.sum(before & ~after)), float(np.sum(before & after))
    share = (n01 + n11) / max(n00 + n01 + n10 + n11, 1)
    after_none, after_hit = n01 / max(n00 + n01, 1), n11 / max(n10 + n11, 1)
    free = _log_likelihood(n00, n01, after_none) + _log_likelihood(n10, n11, after_hit)
    return float(chi2.sf(max(-2 * float(_log_likelihood(n00 + n10, n01 + n11, share) - free), 0), 1))


def _log_likelihood(misses: Floats | float, hits: Floats | float, share: Floats | float) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        no = np.where(np.asarray(misses) > 0, misses * np.log1p(-np.asarray(share)), 0.0)
        yes = np.where(np.asarray(hits) > 0, hits * np.log(share), 0.0)
    return np.asarray(no + yes)


@dataclass(frozen=True, slots=True)
class Bin:
    """Forecast probabilities from `low` to `low` + 10 %.

    Attributes:
        low: Lower limit of the bin, in percent.
        count: Number of forecasts.
        forecast: Mean forecast probability, in percent.
        observed: Share of the forecasts whose event happened, in percent.
    """

    low: int
    count: int
    forecast: float
    observed: float


def calibration_bins(probabilities: Floats, events: Flags) -> list[Bin]:
    """Group probabilities (m,) into bins of a tenth each; leave empty bins out."""
    at = np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)
    found = []
    for i in range(BINS):
        chosen = at == i
        if chosen.any():
            forecast, observed = probabilities[chosen].mean(), events[chosen].mean()
            found.append(Bin(10 * i, int(chosen.sum()), 100 * float(forecast), 100 * float(observed)))
    return found


def calibration_error(bins: list[Bin]) -> float:
    """Return the mean absolute difference of forecast and observed, weighted by count, in points."""
    total = sum(b.count for b in bins)
    return sum(b.count * abs(b.forecast - b.observed) for b in bins) / total if total else float("nan")


def energy_score(paths: NDArray[np.float32], outcome: NDArray[np.float32]) -> float:
    """Return the energy score of m samples (m, d) for a d-dimensional outcome (Gneiting and Raftery 2007).

    This is the fair version: the mean is over all pairs of different samples. Sets of different size are
    therefore comparable. Pairs of neighbouring samples would not be enough: neighbours in time are similar,
    which would bias the score.
    """
    to_outcome = np.sqrt(((paths - outcome) ** 2).sum(axis=1)).mean()
    centred = paths - paths.mean(axis=0)
    square = (centred**2).sum(axis=1)
    apart = np.maximum(square[:, None] + square[None] - 2 * (centred @ centred.T), 0)
    m = len(paths)
    return float(to_outcome - np.sqrt(apart).sum() / (2 * m * (m - 1)))


def variogram_score(paths: NDArray[np.float32], outcome: NDArray[np.float32]) -> float:
    """Return the variogram score of order 1/2 of m samples (m, d) (Scheuerer and Hamill 2015).

    All pairs of dimensions have the same weight.
    """
    i, j = np.triu_indices(paths.shape[1], 1)
    by_number = np.ascontiguousarray(paths.T)
    expected = np.concatenate(
        [np.sqrt(np.abs(row - by_number[a + 1 :])).mean(axis=1) for a, row in enumerate(by_number[:-1])]
    )
    observed = np.sqrt(np.abs(outcome[i] - outcome[j]))
    return float(((observed - expected) ** 2).sum())
