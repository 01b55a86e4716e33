"""Build the scenario library of a version from its walk-forward forecasts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from coincast_modelkit.candles import Panel
from coincast_modelkit.scenarios import ScenarioLibrary, build_library, spread_of
from coincast_training.pipeline.risk_record import measure_risk
from coincast_training.trainers.base import WalkForward

# Horizons in days at which scales are forecast; scales between them are interpolated.
ANCHORS = (1, 3, 7, 14)


def scenario_library(walk_forward: WalkForward, panel: Panel) -> ScenarioLibrary | None:
    """Build the scenario library: the paths after past days, in units of their forecast volatility.

    Args:
        walk_forward: Out-of-sample forecasts of the version.
        panel: Candles of the coins that were forecast.

    Returns:
        The library; None if the forecasts cover too few days, or no horizon of ANCHORS.
    """
    anchors = tuple(anchor for anchor in ANCHORS if (walk_forward.horizons == anchor).any())
    if not anchors:
        return None
    names, coins = np.unique(walk_forward.coin_ids, return_inverse=True)
    days = walk_forward.origins.astype("datetime64[D]")
    first = days.min()
    codes = coins.astype(np.int64) * 1_000_000 + (days - first).astype(np.int64)
    forecasts, row = np.unique(codes, return_inverse=True)
    widths = spread_of(walk_forward.log_return_quantiles, walk_forward.probabilities)
    scales = {}
    for anchor in anchors:
        scale = np.full(len(forecasts), np.nan)
        at_anchor = walk_forward.horizons == anchor
        scale[row[at_anchor]] = widths[at_anchor]
        scales[anchor] = np.where(scale > 0, scale, np.nan)
    coin_ids = [str(name) for name in names[forecasts // 1_000_000]]
    origins = first + (forecasts % 1_000_000).astype("timedelta64[D]")
    whole = build_library(panel, coin_ids, origins, anchors, scales, keep_origins=None)
    kept = build_library(panel, coin_ids, origins, anchors, scales)
    if whole is None or kept is None:
        return None
    return replace(kept, record=measure_risk(walk_forward, panel, whole))
