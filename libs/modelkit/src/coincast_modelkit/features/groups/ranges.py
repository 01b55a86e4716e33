"""Range volatility: what the day's high and low tell; NaN throughout where a plan gives neither.

Parkinson 1980, Garman and Klass 1980, Rogers and Satchell 1991, Wilder 1978 (average true range).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.features import rolling as k
from coincast_modelkit.features.context import Context
from coincast_modelkit.features.definition import Feature

GROUP = "ranges"
SPANS = (1, 5, 10, 22, 66)
MEASURES: dict[str, Callable[[Context], Floats]] = {
    "parkinson": lambda c: c.parkinson,
    "garman_klass": lambda c: c.garman_klass,
}


def _log_variance(measure: str, window: int) -> Feature:
    def compute(c: Context) -> Floats:
        return 0.5 * k.log_of(k.rolling_mean(MEASURES[measure](c), window))

    return Feature(
        name=f"{measure}_{window}",
        group=GROUP,
        doc=f"Log of the {measure.replace('_', '-').title()} volatility over {window} days.",
        warmup_days=window - 1,
        params={"window": window},
        compute=compute,
    )


def true_range(c: Context) -> Floats:
    """Return the true range over the previous close: high less low, or either's distance from that close."""
    previous = k.shift(c.candles.close, 1)
    high, low = np.maximum(c.candles.high, previous), np.minimum(c.candles.low, previous)
    return c.keep("true_range", lambda: high - low)


_ATR_DECAY = 1 - 1 / 14


def _atr(c: Context) -> Floats:
    return k.log_of(k.ratio(k.ewm_mean(true_range(c), _ATR_DECAY, min_rows=15), c.candles.close))


def _rogers_satchell(c: Context) -> Floats:
    x = c.candles
    with np.errstate(invalid="ignore", divide="ignore"):
        high, low, opening, close = (
            np.log(np.where(v > 0, v, np.nan)) for v in (x.high, x.low, x.open, x.close)
        )
    return np.asarray((high - close) * (high - opening) + (low - close) * (low - opening))


def _close_location(c: Context) -> Floats:
    """Return where the close lies in the day's range: -1 at the low, 1 at the high."""
    x = c.candles
    return k.ratio(2 * x.close - x.high - x.low, x.high - x.low)


FEATURES = (
    *(_log_variance("parkinson", w) for w in SPANS),
    *(_log_variance("garman_klass", w) for w in SPANS),
    Feature(
        "rogers_satchell_10",
        GROUP,
        "Log of the Rogers-Satchell volatility over 10 days.",
        9,
        lambda c: 0.5 * k.log_of(k.rolling_mean(_rogers_satchell(c), 10)),
    ),
    Feature(
        name="atr_14",
        group=GROUP,
        doc="Log of the average true range (Wilder, 14 days) over the close.",
        warmup_days=14,
        compute=_atr,
        memory_days=k.ewm_memory(_ATR_DECAY) + 1,
    ),
    Feature(
        "close_location_1", GROUP, "Where the close lies in the day's range, -1 to 1.", 0, _close_location
    ),
    Feature(
        "close_location_10",
        GROUP,
        "Mean of close_location_1 over 10 days.",
        9,
        lambda c: k.rolling_mean(_close_location(c), 10),
    ),
    Feature(
        "range_to_return_22",
        GROUP,
        "Log of range variance over squared returns, 22 days: how much of the day reverses before the close.",
        22,
        lambda c: k.log_of(k.ratio(k.rolling_mean(c.parkinson, 22), k.rolling_mean(c.squared, 22))),
    ),
)
