"""The training window, and the volatility regression that the models of returns correct."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.models.har import HarLine, fit_line
from coincast_training.trainers.training_table import Rows


@dataclass(frozen=True, slots=True)
class Window:
    """A training window: origins from `first` on, with targets that end by `last_close` (datetime64[D])."""

    first: np.datetime64
    last_close: np.datetime64

    def known(self, rows: Rows, horizon: int) -> np.ndarray:
        """Return the positions of the rows in the window whose target at a horizon has ended."""
        ended = rows.origins + np.timedelta64(horizon, "D") <= self.last_close
        return np.flatnonzero((rows.origins >= self.first) & ended)

    def divided(self, later_share: float) -> tuple[Window, Window]:
        """Split into an earlier part and a later block; targets of the earlier part end before the block."""
        days = int((self.last_close - self.first).astype(int))
        start = self.last_close - np.timedelta64(max(min(30, days // 4), round(later_share * days)), "D")
        return Window(self.first, start - np.timedelta64(1, "D")), Window(start, self.last_close)


def volatility_ahead(rows: Rows, anchors: tuple[int, ...]) -> Floats:
    """Return the log volatility over each anchor, (N, A); NaN if the days have not ended."""
    return np.stack([rows.log_volatility[:, rows.column(h)] for h in anchors], axis=1)


def line_of(rows: Rows, anchors: tuple[int, ...], window: Window, ridge_rows: float) -> HarLine:
    """Fit the HAR regression on the targets that ended in a window."""
    ahead = volatility_ahead(rows, anchors)
    targets = np.full_like(ahead, np.nan)
    for j, h in enumerate(anchors):
        at = window.known(rows, h)
        targets[at, j] = ahead[at, j]
    return fit_line(rows.features, rows.spec.names, targets, ridge=ridge_rows)
