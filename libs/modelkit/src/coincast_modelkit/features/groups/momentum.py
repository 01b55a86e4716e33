"""Returns and momentum, mostly in units of the coin's own volatility so that coins can be pooled."""

from __future__ import annotations

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.features import rolling as k
from coincast_modelkit.features.context import Context
from coincast_modelkit.features.definition import Feature

GROUP = "momentum"
SPANS = (1, 2, 3, 5, 7, 10, 14, 21, 30, 60, 90)
LAGS = (1, 2, 3)
SCALE_MEMORY = k.ewm_memory(0.5 ** (1 / 10)) + 1


def scaled_return(c: Context, days: int) -> Floats:
    """Log return over this many days, over scale times the root of the days."""
    return c.keep(
        ("scaled_return", days), lambda: k.ratio(k.difference(c.log_close, days), c.scale * np.sqrt(days))
    )


def _scaled(days: int) -> Feature:
    return Feature(
        name=f"zret_{days}",
        group=GROUP,
        doc=f"Log return of {days} days over the coin's volatility and the root of the days.",
        warmup_days=max(days, 10),
        memory_days=max(days + 1, SCALE_MEMORY),
        params={"days": days},
        compute=lambda c: scaled_return(c, days),
    )


def _lagged(lag: int) -> Feature:
    return Feature(
        name=f"zret_1_lag_{lag}",
        group=GROUP,
        doc=f"The one-day scaled return of {lag} days ago.",
        warmup_days=10 + lag,
        memory_days=SCALE_MEMORY + lag,
        params={"lag": lag},
        compute=lambda c: k.shift(scaled_return(c, 1), lag),
    )


def _rate_of_change(days: int) -> Feature:
    return Feature(
        name=f"roc_{days}",
        group=GROUP,
        doc=f"Rate of change over {days} days, in percent.",
        warmup_days=days,
        params={"days": days},
        compute=lambda c: 100 * (k.ratio(c.candles.close, k.shift(c.candles.close, days)) - 1),
    )


def _up_days(window: int) -> Feature:
    def compute(c: Context) -> Floats:
        return k.rolling_mean(np.where(np.isnan(c.returns), np.nan, c.returns > 0), window)

    return Feature(
        name=f"up_days_{window}",
        group=GROUP,
        doc=f"Share of the last {window} days that closed higher.",
        warmup_days=window,
        params={"window": window},
        compute=compute,
    )


FEATURES = (
    *(_scaled(d) for d in SPANS),
    *(_lagged(d) for d in LAGS),
    *(_rate_of_change(d) for d in (7, 30)),
    *(_up_days(w) for w in (14, 30)),
    Feature(
        name="acceleration_7_30",
        group=GROUP,
        doc="Scaled return of 7 days less that of 30 days.",
        warmup_days=30,
        memory_days=SCALE_MEMORY,
        compute=lambda c: scaled_return(c, 7) - scaled_return(c, 30),
    ),
)
