"""Classical indicators: RSI, MACD, Bollinger bands, stochastic, CCI, distances from moving averages.

Wilder 1978 (RSI), Appel 1979 (MACD), Bollinger 2002, Lane 1984 (stochastic), Lambert 1980 (CCI), Kaufman
1995.
"""

from __future__ import annotations

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.features import rolling as k
from coincast_modelkit.features.context import Context
from coincast_modelkit.features.definition import Feature

GROUP = "indicators"


def ema(c: Context, span: int) -> Floats:
    """Exponential mean of the close over a span (decay 1 - 2 / (span + 1)), relative weights cut at 1e-5."""
    decay = 1 - 2 / (span + 1)
    return c.keep(("ema", span), lambda: k.ewm_mean(c.candles.close, decay, min_rows=span))


def sma(c: Context, window: int) -> Floats:
    """Return the simple mean of the close."""
    return c.keep(("sma", window), lambda: k.rolling_mean(c.candles.close, window))


def ema_memory(span: int) -> int:
    """Return rows that `ema` looks back."""
    return k.ewm_memory(1 - 2 / (span + 1))


def _rsi(window: int) -> Feature:
    decay = 1 - 1 / window

    def compute(c: Context) -> Floats:
        change = k.difference(c.candles.close, 1)
        up = k.ewm_mean(np.maximum(change, 0.0), decay, min_rows=window + 1)
        down = k.ewm_mean(np.maximum(-change, 0.0), decay, min_rows=window + 1)
        return 100 * k.ratio(up, up + down)

    return Feature(
        name=f"rsi_{window}",
        group=GROUP,
        doc=f"Relative strength index with Wilder's smoothing over {window} days, 0 to 100.",
        warmup_days=window,
        memory_days=k.ewm_memory(decay) + 1,
        params={"window": window},
        compute=compute,
    )


FAST, SLOW, SIGNAL = 12, 26, 9
_SIGNAL_DECAY = 1 - 2 / (SIGNAL + 1)
_MACD_MEMORY = ema_memory(SLOW) + k.ewm_memory(_SIGNAL_DECAY)


def _macd(c: Context) -> Floats:
    """Return the percentage price oscillator: MACD in percent of the slow mean."""
    return c.keep("macd", lambda: 100 * (k.ratio(ema(c, FAST), ema(c, SLOW)) - 1))


def _macd_signal(c: Context) -> Floats:
    return c.keep("macd_signal", lambda: k.ewm_mean(_macd(c), _SIGNAL_DECAY, min_rows=SLOW + SIGNAL - 1))


_MACD = (
    Feature(
        name="macd",
        group=GROUP,
        doc="MACD(12, 26) in percent of the slow mean.",
        warmup_days=SLOW - 1,
        compute=_macd,
        memory_days=ema_memory(SLOW),
    ),
    Feature(
        name="macd_signal",
        group=GROUP,
        doc="Exponential mean of macd over 9 days.",
        warmup_days=SLOW + SIGNAL - 2,
        compute=_macd_signal,
        memory_days=_MACD_MEMORY,
    ),
    Feature(
        name="macd_histogram",
        group=GROUP,
        doc="macd less macd_signal.",
        warmup_days=SLOW + SIGNAL - 2,
        compute=lambda c: _macd(c) - _macd_signal(c),
        memory_days=_MACD_MEMORY,
    ),
)


def _deviation(c: Context, window: int) -> Floats:
    """Return the standard deviation of the close over its own mean."""
    return c.keep(
        ("deviation", window), lambda: k.ratio(k.rolling_std(c.candles.close, window), sma(c, window))
    )


_BOLLINGER = (
    Feature(
        "bollinger_position_20",
        GROUP,
        "Where the close lies between the Bollinger bands (20 days, 2 deviations): 0 lower, 1 upper.",
        19,
        lambda c: 0.5 + k.ratio(k.ratio(c.candles.close, sma(c, 20)) - 1, 4 * _deviation(c, 20)),
    ),
    Feature(
        "bollinger_width_20",
        GROUP,
        "Width of the Bollinger bands (20 days, 2 deviations) in percent of the mean.",
        19,
        lambda c: 400 * _deviation(c, 20),
    ),
)


def _stochastic(c: Context, window: int) -> Floats:
    high, low = k.rolling_max(c.candles.high, window), k.rolling_min(c.candles.low, window)
    return 100 * k.ratio(c.candles.close - low, high - low)


def _cci(c: Context, window: int) -> Floats:
    typical = (c.candles.high + c.candles.low + c.candles.close) / 3
    if len(typical) < window:
        return np.full(len(typical), np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(typical, window)
    mean = windows.mean(axis=-1)
    spread = np.abs(windows - mean[:, None]).mean(axis=-1)
    out = np.full(len(typical), np.nan)
    out[window - 1 :] = k.ratio(typical[window - 1 :] - mean, 0.015 * spread)
    return out


_OSCILLATORS = (
    Feature(
        "stochastic_14",
        GROUP,
        "Close within the range of 14 days, percent.",
        13,
        lambda c: c.keep("stoch", lambda: _stochastic(c, 14)),
    ),
    Feature(
        "stochastic_signal_14",
        GROUP,
        "Mean of stochastic_14 over 3 days.",
        15,
        lambda c: k.rolling_mean(c.keep("stoch", lambda: _stochastic(c, 14)), 3),
    ),
    Feature("cci_20", GROUP, "Commodity channel index of 20 days.", 19, lambda c: _cci(c, 20)),
)


def _ma_distance(window: int) -> Feature:
    return Feature(
        name=f"sma_distance_{window}",
        group=GROUP,
        doc=f"Log distance of the close from its mean of {window} days.",
        warmup_days=window - 1,
        params={"window": window},
        compute=lambda c: c.log_close - k.log_of(sma(c, window)),
    )


def _ema_distance(span: int) -> Feature:
    return Feature(
        name=f"ema_distance_{span}",
        group=GROUP,
        doc=f"Log distance of the close from its exponential mean of span {span}.",
        warmup_days=span - 1,
        memory_days=ema_memory(span),
        params={"span": span},
        compute=lambda c: c.log_close - k.log_of(ema(c, span)),
    )


def _ma_cross(fast: int, slow: int) -> Feature:
    return Feature(
        name=f"sma_cross_{fast}_{slow}",
        group=GROUP,
        doc=f"Log ratio of the mean of {fast} days to that of {slow} days.",
        warmup_days=slow - 1,
        params={"fast": fast, "slow": slow},
        compute=lambda c: k.log_of(sma(c, fast)) - k.log_of(sma(c, slow)),
    )


def _efficiency(window: int) -> Feature:
    def compute(c: Context) -> Floats:
        path = k.rolling_mean(np.abs(c.returns), window) * window
        return k.ratio(np.abs(k.difference(c.log_close, window)), path)

    return Feature(
        name=f"efficiency_{window}",
        group=GROUP,
        doc=f"Kaufman's efficiency ratio: net move over {window} days by the path walked, 0 to 1.",
        warmup_days=window,
        params={"window": window},
        compute=compute,
    )


FEATURES = (
    *(_rsi(w) for w in (7, 14, 28)),
    *_MACD,
    *_BOLLINGER,
    *_OSCILLATORS,
    *(_ma_distance(w) for w in (7, 14, 30, 50, 100, 200)),
    *(_ema_distance(s) for s in (12, 26, 50)),
    *(_ma_cross(f, s) for f, s in ((7, 30), (50, 200))),
    *(_efficiency(w) for w in (14, 30)),
)
