"""The ridge regression of the hourly model, fitted from sums of products (moments) that can be extended.

Corsi 2009 (HAR), with a leverage term as in Corsi and Reno 2012. Since only the moments are stored, a refit
needs one pass over the new hours, and an expanding walk-forward costs no more than a single fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from coincast_modelkit.candles import Floats

# Strength of the ridge: it equals this many imaginary rows with a slope of zero. The panel has hundreds of
# thousands of real rows, which outweigh them.
RIDGE_ROWS = 100.0
MIN_ROWS = 500


@dataclass(frozen=True, slots=True, eq=False)
class HourlyLine:
    """Slopes (A, T), intercepts (A,) and residual errors (A,) of log volatility at A anchor horizons.

    The output is half the log of the mean deseasonalised hourly variance over the horizon.
    """

    slopes: Floats
    intercepts: Floats
    errors: Floats

    def predict(self, rows: Floats) -> Floats:
        """Return the outputs (n, A) of design rows (n, T)."""
        return np.asarray(rows @ self.slopes.T + self.intercepts)

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists."""
        return {
            "slopes": self.slopes.tolist(),
            "intercepts": self.intercepts.tolist(),
            "errors": self.errors.tolist(),
        }

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> HourlyLine:
        """Parse the output of `to_dict`."""
        return cls(*(np.array(plain[name], dtype=np.float64) for name in ("slopes", "intercepts", "errors")))


class Moments:
    """Sums of products of design rows and one target; rows can be added at any time."""

    def __init__(self, terms: int) -> None:
        self._products = np.zeros((terms + 2, terms + 2))

    @property
    def rows(self) -> int:
        """Return the number of rows added."""
        return int(self._products[-2, -2])

    def add(self, rows: Floats, target: Floats) -> None:
        """Add design rows (n, T) with their target (n,); rows with a missing value are left out."""
        good = np.isfinite(target) & np.isfinite(rows).all(axis=1)
        table = np.column_stack([rows[good], np.ones(int(good.sum())), target[good]])
        self._products += table.T @ table

    def solve(self, ridge_rows: float = RIDGE_ROWS) -> tuple[Floats, float, float]:
        """Return slopes (T,), intercept and standard error of the residuals of a ridge on standardised terms.

        Raises:
            ValueError: Fewer than MIN_ROWS rows were added.
        """
        n = self._products[-2, -2]
        if n < MIN_ROWS:
            raise ValueError(f"the hourly line needs {MIN_ROWS} hours with a known outcome, got {int(n)}")
        mean = self._products[-2] / n
        cov = self._products / n - np.outer(mean, mean)
        terms = len(cov) - 2
        variance = np.diag(cov)[:terms]
        spread = np.sqrt(np.where(variance > 1e-12, variance, np.inf))
        gram = cov[:terms, :terms] / np.outer(spread, spread) + ridge_rows / n * np.eye(terms)
        slopes = np.linalg.solve(gram, cov[:terms, -1] / spread) / spread
        residual = cov[-1, -1] - 2 * slopes @ cov[:terms, -1] + slopes @ cov[:terms, :terms] @ slopes
        return slopes, float(mean[-1] - mean[:terms] @ slopes), float(np.sqrt(max(residual, 1e-12)))


def line_of(moments: list[Moments]) -> HourlyLine:
    """Fit the line from one `Moments` per anchor."""
    parts = [m.solve() for m in moments]
    return HourlyLine(
        np.stack([p[0] for p in parts]), np.array([p[1] for p in parts]), np.array([p[2] for p in parts])
    )
