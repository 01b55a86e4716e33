"""Quantiles at any horizon from volatility and mean at anchor horizons: location, scale and a fixed shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.intervals.regimes import Regimes
from coincast_modelkit.models.interpolation import across_horizons
from coincast_modelkit.models.residuals import ResidualShape


@dataclass(frozen=True, slots=True, eq=False)
class LocationScale:
    """The head of a location-scale model.

    It has A outputs of log volatility at anchors (days), M scores of the mean at mean_anchors, and the
    residuals' shape.
    """

    anchors: tuple[int, ...]
    mean_anchors: tuple[int, ...]
    shape: ResidualShape

    def log_volatility(self, at_anchors: Floats, horizons: Sequence[int]) -> Floats:
        """Log daily volatility (n, H) from (n, A)."""
        return across_horizons(self.anchors, at_anchors.T, horizons).T

    def mean(self, scores: Floats, log_volatility: Floats, horizons: Sequence[int]) -> Floats:
        """Mean log return (n, H) from weighted scores (n, M); past the last mean anchor it grows no more."""
        days = np.minimum(np.asarray(horizons, dtype=np.float64), self.mean_anchors[-1])
        at = across_horizons(self.mean_anchors, scores.T, horizons).T
        return np.asarray(at * np.exp(log_volatility) * np.sqrt(days))

    def quantiles(
        self,
        at_anchors: Floats,
        scores: Floats,
        horizons: Sequence[int],
        *,
        regimes: Regimes,
        widen: Floats | None = None,
    ) -> Floats:
        """Return log-return quantiles (n, H, Q) at PROBABILITIES.

        They come from log volatility (n, A), weighted scores (n, M) and volatility regimes (n,). widen (n, A)
        adds to the log of the width alone.
        """
        log_volatility = self.log_volatility(at_anchors, horizons)
        width = log_volatility if widen is None else self.log_volatility(at_anchors + widen, horizons)
        scale = np.exp(width) * np.sqrt(np.asarray(horizons, dtype=np.float64))
        mean = self.mean(scores, log_volatility, horizons)
        return np.asarray(mean[..., None] + scale[..., None] * self.shape.quantiles(horizons, regimes))
