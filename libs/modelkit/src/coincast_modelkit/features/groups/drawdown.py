"""Distance from past extremes of the close."""

from __future__ import annotations

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.features import rolling as k
from coincast_modelkit.features.context import Context
from coincast_modelkit.features.definition import Feature

GROUP = "drawdown"
SPANS = (14, 30, 90, 250)


def _from_high(window: int) -> Feature:
    return Feature(
        name=f"drawdown_{window}",
        group=GROUP,
        doc=f"Log distance of the close below its highest close of {window} days (zero or negative).",
        warmup_days=window - 1,
        params={"window": window},
        compute=lambda c: c.log_close - k.rolling_max(c.log_close, window),
    )


def _from_low(window: int) -> Feature:
    return Feature(
        name=f"rise_{window}",
        group=GROUP,
        doc=f"Log distance of the close above its lowest close of {window} days (zero or positive).",
        warmup_days=window - 1,
        params={"window": window},
        compute=lambda c: c.log_close - k.rolling_min(c.log_close, window),
    )


def _worst(window: int) -> Feature:
    def compute(c: Context) -> Floats:
        below = c.log_close - k.rolling_max(c.log_close, window)
        return k.rolling_min(below, window)

    return Feature(
        name=f"worst_drawdown_{window}",
        group=GROUP,
        doc=f"The deepest drawdown_{window} of the last {window} days.",
        warmup_days=2 * window - 2,
        params={"window": window},
        compute=compute,
    )


def _days_since_high(c: Context) -> Floats:
    """Return days since the highest close of 90 days, over 90."""
    window = 90
    out = np.full(len(c.log_close), np.nan)
    if len(out) >= window:
        windows = np.lib.stride_tricks.sliding_window_view(c.log_close, window)
        out[window - 1 :] = (window - 1 - windows.argmax(axis=-1)) / window
    return out


FEATURES = (
    *(_from_high(w) for w in SPANS),
    *(_from_low(w) for w in SPANS),
    _worst(30),
    Feature(
        "days_since_high_90", GROUP, "Days since the highest close of 90 days, over 90.", 89, _days_since_high
    ),
)
