"""Performance of a series of daily returns: Sharpe and Sortino ratio, drawdown, growth.

Definitions: W. Sharpe, "The Sharpe Ratio", 1994, with a riskless return of zero; F. Sortino and L. Price,
"Performance Measurement in a Downside Risk Framework", 1994, with a target of zero. Crypto markets trade
every day, so a year has 365 of them.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

DAYS_PER_YEAR = 365
# A smaller deviation is an error of floating-point arithmetic: the returns are constant and have no ratio.
_SMALLEST_DEVIATION = 1e-15

Floats = NDArray[np.float64]


def sharpe_ratio(returns: Floats) -> float:
    """Return the annualised ratio of the mean to the standard deviation; NaN if the returns do not vary."""
    deviation = float(np.std(returns, ddof=1)) if len(returns) > 1 else 0.0
    if deviation < _SMALLEST_DEVIATION:
        return math.nan
    return float(np.mean(returns)) / deviation * math.sqrt(DAYS_PER_YEAR)


def sortino_ratio(returns: Floats) -> float:
    """Return the annualised ratio of the mean to the root mean square of the losses; NaN without a loss."""
    downside = math.sqrt(float(np.mean(np.minimum(returns, 0.0) ** 2))) if len(returns) else 0.0
    if downside < _SMALLEST_DEVIATION:
        return math.nan
    return float(np.mean(returns)) / downside * math.sqrt(DAYS_PER_YEAR)


def max_drawdown(returns: Floats) -> float:
    """Return the largest fall from an earlier maximum, as a share of the maximum; 0 or negative."""
    value = np.concatenate([[1.0], np.cumprod(1.0 + returns)])
    return float(np.min(value / np.maximum.accumulate(value))) - 1.0


def annual_return(returns: Floats) -> float:
    """Return the constant yearly growth that gives the same final value; -1 if everything was lost."""
    growth = float(np.prod(1.0 + returns))
    if growth <= 0:
        return -1.0
    return float(growth ** (DAYS_PER_YEAR / len(returns))) - 1.0 if len(returns) else math.nan
