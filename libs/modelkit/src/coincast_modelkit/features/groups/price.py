"""Features of the closes: returns and momentum, distances from past extremes, classical indicators.

Returns are mostly in units of the coin's own volatility, so that coins can be pooled. Sources: Wilder 1978
(RSI), Appel 1979 (MACD), Bollinger 2002, Lane 1984 (stochastic), Lambert 1980 (CCI), Kaufman 1995.
"""

from __future__ import annotations

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.features import rolling as k
from coincast_modelkit.features.definition import Context, Feature

MOMENTUM = "momentum"
MOMENTUM_SPANS = (1, 2, 3, 5, 7, 10, 14, 21, 30, 60, 90)
LAGS = (1, 2, 3)
SCALE_MEMORY = k.ewm_memory(0.5 ** (1 / 10)) + 1


def scaled_return(c: Context, days: int) -> Floats:
    """Return the log return over `days`, divided by daily volatility (`scale`) times the root of the days."""
    return c.keep(
        ("scaled_return", days), lambda: k.ratio(k.difference(c.log_close, days), c.scale * np.sqrt(days))
    )


def _scaled(days: int) -> Feature:
    return Feature(
        name=f"zret_{days}",
        group=MOMENTUM,
        doc=f"Log return of {days} days over the coin's volatility and the root of the days.",
        warmup_days=max(days, 10),
        memory_days=max(days + 1, SCALE_MEMORY),
        params={"days": days},
        compute=lambda c: scaled_return(c, days),
    )


def _lagged(lag: int) -> Feature:
    return Feature(
        name=f"zret_1_lag_{lag}",
        group=MOMENTUM,
        doc=f"The one-day scaled return of {lag} days ago.",
        warmup_days=10 + lag,
        memory_days=SCALE_MEMORY + lag,
        params={"lag": lag},
        compute=lambda c: k.shift(scaled_return(c, 1), lag),
    )


def _rate_of_change(days: int) -> Feature:
    return Feature(
        name=f"roc_{days}",
        group=MOMENTUM,
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
        group=MOMENTUM,
        doc=f"Share of the last {window} days that closed higher.",
        warmup_days=window,
        params={"window": window},
        compute=compute,
    )


MOMENTUM_FEATURES = (
    *(_scaled(d) for d in MOMENTUM_SPANS),
    *(_lagged(d) for d in LAGS),
    *(_rate_of_change(d) for d in (7, 30)),
    *(_up_days(w) for w in (14, 30)),
    Feature(
        name="acceleration_7_30",
        group=MOMENTUM,
        doc="Scaled return of 7 days less that of 30 days.",
        warmup_days=30,
        memory_days=SCALE_MEMORY,
        compute=lambda c: scaled_return(c, 7) - scaled_return(c, 30),
    ),
)


DRAWDOWN = "drawdown"
DRAWDOWN_SPANS = (14, 30, 90, 250)


def _from_high(window: int) -> Feature:
    return Feature(
        name=f"drawdown_{window}",
        group=DRAWDOWN,
        doc=f"Log distance of the close below its highest close of {window} days (zero or negative).",
        warmup_days=window - 1,
        params={"window": window},
        compute=lambda c: c.log_close - k.rolling_max(c.log_close, window),
    )


def _from_low(window: int) -> Feature:
    return Feature(
        name=f"rise_{window}",
        group=DRAWDOWN,
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
        group=DRAWDOWN,
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


DRAWDOWN_FEATURES = (
    *(_from_high(w) for w in DRAWDOWN_SPANS),
    *(_from_low(w) for w in DRAWDOWN_SPANS),
    _worst(30),
    Feature(
        "days_since_high_90",
        DRAWDOWN,
        "Days since the highest close of 90 days, over 90.",
        89,
        _days_since_high,
    ),
)


INDICATORS = "indicators"


def ema(c: Context, span: int) -> Floats:
    """Return the exponential mean of the close with decay 1 - 2 / (span + 1), without weights below 1e-5."""
    decay = 1 - 2 / (span + 1)
    return c.keep(("ema", span), lambda: k.ewm_mean(c.candles.close, decay, min_rows=span))


def sma(c: Context, window: int) -> Floats:
    """Return the simple mean of the close."""
    return c.keep(("sma", window), lambda: k.rolling_mean(c.candles.close, window))


def ema_memory(span: int) -> int:
    """Return the number of rows that `ema` depends on."""
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
        group=INDICATORS,
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
        group=INDICATORS,
        doc="MACD(12, 26) in percent of the slow mean.",
        warmup_days=SLOW - 1,
        compute=_macd,
        memory_days=ema_memory(SLOW),
    ),
    Feature(
        name="macd_signal",
        group=INDICATORS,
        doc="Exponential mean of macd over 9 days.",
        warmup_days=SLOW + SIGNAL - 2,
        compute=_macd_signal,
        memory_days=_MACD_MEMORY,
    ),
    Feature(
        name="macd_histogram",
        group=INDICATORS,
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
        INDICATORS,
        "Where the close lies between the Bollinger bands (20 days, 2 deviations): 0 lower, 1 upper.",
        19,
        lambda c: 0.5 + k.ratio(k.ratio(c.candles.close, sma(c, 20)) - 1, 4 * _deviation(c, 20)),
    ),
    Feature(
        "bollinger_width_20",
        INDICATORS,
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
        INDICATORS,
        "Close within the range of 14 days, percent.",
        13,
        lambda c: c.keep("stoch", lambda: _stochastic(c, 14)),
    ),
    Feature(
        "stochastic_signal_14",
        INDICATORS,
        "Mean of stochastic_14 over 3 days.",
        15,
        lambda c: k.rolling_mean(c.keep("stoch", lambda: _stochastic(c, 14)), 3),
    ),
    Feature("cci_20", INDICATORS, "Commodity channel index of 20 days.", 19, lambda c: _cci(c, 20)),
)


def _ma_distance(window: int) -> Feature:
    return Feature(
        name=f"sma_distance_{window}",
        group=INDICATORS,
        doc=f"Log distance of the close from its mean of {window} days.",
        warmup_days=window - 1,
        params={"window": window},
        compute=lambda c: c.log_close - k.log_of(sma(c, window)),
    )


def _ema_distance(span: int) -> Feature:
    return Feature(
        name=f"ema_distance_{span}",
        group=INDICATORS,
        doc=f"Log distance of the close from its exponential mean of span {span}.",
        warmup_days=span - 1,
        memory_days=ema_memory(span),
        params={"span": span},
        compute=lambda c: c.log_close - k.log_of(ema(c, span)),
    )


def _ma_cross(fast: int, slow: int) -> Feature:
    return Feature(
        name=f"sma_cross_{fast}_{slow}",
        group=INDICATORS,
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
        group=INDICATORS,
        doc=f"Kaufman's efficiency ratio: net move of {window} days over the sum of daily moves, 0 to 1.",
        warmup_days=window,
        params={"window": window},
        compute=compute,
    )


INDICATORS_FEATURES = (
    *(_rsi(w) for w in (7, 14, 28)),
    *_MACD,
    *_BOLLINGER,
    *_OSCILLATORS,
    *(_ma_distance(w) for w in (7, 14, 30, 50, 100, 200)),
    *(_ema_distance(s) for s in (12, 26, 50)),
    *(_ma_cross(f, s) for f, s in ((7, 30), (50, 200))),
    *(_efficiency(w) for w in (14, 30)),
)
