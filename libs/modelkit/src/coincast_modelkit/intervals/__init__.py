"""Prediction intervals from residuals: symmetric conformal sizes by volatility regime, never crossing."""

from __future__ import annotations

from coincast_modelkit.intervals.conformal import (
    cautious_factors,
    regime_sizes,
    symmetric_quantiles,
    weighted_sizes,
)
from coincast_modelkit.intervals.regimes import REGIMES, volatility_regimes

__all__ = [
    "REGIMES",
    "cautious_factors",
    "regime_sizes",
    "symmetric_quantiles",
    "volatility_regimes",
    "weighted_sizes",
]
