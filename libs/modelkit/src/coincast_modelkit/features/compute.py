"""Compute features for a whole history, or for its last day."""

from __future__ import annotations

import numpy as np

from coincast_modelkit.candles import Candles, Floats
from coincast_modelkit.features.definition import Context
from coincast_modelkit.features.market import MarketOrPanel, market_of
from coincast_modelkit.features.spec import FeatureSpec


def batch(candles: Candles, reference: MarketOrPanel, spec: FeatureSpec) -> Floats:
    """Return the features of every day: (n, F), NaN during the warm-up or where an input is absent.

    Row i depends on candles[: i + 1] and the reference up to that day, at most the last spec.memory_days.

    Args:
        candles: n days without a calendar gap (`Candles.on_every_day`).
        reference: The market, or the candles of the reference coins.
        spec: The F features.
    """
    context = Context(candles, market_of(reference).on(candles.dates))
    out = np.empty((len(candles), len(spec.names)))
    for column, feature in enumerate(spec.definitions):
        out[:, column] = feature.compute(context)
        out[: feature.warmup_days, column] = np.nan
    return out


def latest(candles: Candles, reference: MarketOrPanel, spec: FeatureSpec) -> Floats:
    """Return the features of the last day, (F,): the last row of `batch`, computed from the last rows only.

    It needs spec.memory_days rows.

    Args:
        candles: Days without a calendar gap.
        reference: The market, or the candles of the reference coins.
        spec: The F features.

    Raises:
        ValueError: There are no candles.
    """
    if not len(candles):
        raise ValueError(f"{candles.coin_id}: no candles to compute features from")
    row: Floats = batch(candles.tail(spec.memory_days), reference, spec)[-1]
    return row
