"""The catalogue of features: every definition, in a section for each group.

Returns are mostly in units of the coin's own volatility, so that coins can be pooled. Where the API plan
gives neither high nor low, the features of the range are NaN throughout; those of the volume are, where it
gives no volume. Sources: Wilder 1978 (RSI, average true range), Appel 1979 (MACD), Bollinger 2002, Lane 1984
(stochastic), Lambert 1980 (CCI), Kaufman 1995 (efficiency), Parkinson 1980, Garman and Klass 1980, Rogers and
Satchell 1991, Corsi 2009 (HAR), Corsi and Reno 2012 (leverage), Barndorff-Nielsen and Shephard 2004 (bipower
variation), Barndorff-Nielsen et al. 2010 (semivariance), Amihud 2002 (illiquidity), Quong and Soudack 1989
(money flow).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from coincast_modelkit import rolling as k
from coincast_modelkit.candles import Floats
from coincast_modelkit.features.definition import Context, Feature

# Momentum: returns over several spans.

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


# Indicators: classical indicators of technical analysis.

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


INDICATOR_FEATURES = (
    *(_rsi(w) for w in (7, 14, 28)),
    *_MACD,
    *_BOLLINGER,
    *_OSCILLATORS,
    *(_ma_distance(w) for w in (7, 14, 30, 50, 100, 200)),
    *(_ema_distance(s) for s in (12, 26, 50)),
    *(_ma_cross(f, s) for f, s in ((7, 30), (50, 200))),
    *(_efficiency(w) for w in (14, 30)),
)


# Ranges: volatility from the day's high and low.

RANGES = "ranges"
RANGES_SPANS = (1, 5, 10, 22, 66)
MEASURES: dict[str, Callable[[Context], Floats]] = {
    "parkinson": lambda c: c.parkinson,
    "garman_klass": lambda c: c.garman_klass,
}


def _log_variance(measure: str, window: int) -> Feature:
    def compute(c: Context) -> Floats:
        return 0.5 * k.log_of(k.rolling_mean(MEASURES[measure](c), window))

    return Feature(
        name=f"{measure}_{window}",
        group=RANGES,
        doc=f"Log of the {measure.replace('_', '-').title()} volatility over {window} days.",
        warmup_days=window - 1,
        params={"window": window},
        compute=compute,
    )


def true_range(c: Context) -> Floats:
    """Return Wilder's true range: the span of high, low and previous close."""
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


RANGE_FEATURES = (
    *(_log_variance("parkinson", w) for w in RANGES_SPANS),
    *(_log_variance("garman_klass", w) for w in RANGES_SPANS),
    Feature(
        "rogers_satchell_10",
        RANGES,
        "Log of the Rogers-Satchell volatility over 10 days.",
        9,
        lambda c: 0.5 * k.log_of(k.rolling_mean(_rogers_satchell(c), 10)),
    ),
    Feature(
        name="atr_14",
        group=RANGES,
        doc="Log of the average true range (Wilder, 14 days) over the close.",
        warmup_days=14,
        compute=_atr,
        memory_days=k.ewm_memory(_ATR_DECAY) + 1,
    ),
    Feature(
        "close_location_1", RANGES, "Where the close lies in the day's range, -1 to 1.", 0, _close_location
    ),
    Feature(
        "close_location_10",
        RANGES,
        "Mean of close_location_1 over 10 days.",
        9,
        lambda c: k.rolling_mean(_close_location(c), 10),
    ),
    Feature(
        "range_to_return_22",
        RANGES,
        "Log of range variance over squared returns, 22 days: how much of the day reverses before the close.",
        22,
        lambda c: k.log_of(k.ratio(k.rolling_mean(c.parkinson, 22), k.rolling_mean(c.squared, 22))),
    ),
)


# Realised volatility from returns over several spans, with its asymmetry, jumps and persistence.

REALISED = "realised"
HAR_SPANS = (1, 3, 7, 14, 30, 90, 180)
RETURN_SPANS = (7, 14, 30, 60)
DECAYS = (0.7, 0.85, 0.94, 0.97)


def _har(window: int) -> Feature:
    return Feature(
        name=f"har_{window}",
        group=REALISED,
        doc=f"Half the log of the mean daily variance over {window} days (ranges, else squared returns).",
        warmup_days=window,
        params={"window": window},
        compute=lambda c: 0.5 * c.log_variance_mean(window),
    )


def _realised(window: int) -> Feature:
    return Feature(
        name=f"realised_{window}",
        group=REALISED,
        doc=f"Log of the root mean squared daily return over {window} days.",
        warmup_days=window,
        params={"window": window},
        compute=lambda c: 0.5 * k.log_of(k.rolling_mean(c.squared, window)),
    )


def _ewma(decay: float) -> Feature:
    return Feature(
        name=f"ewma_{round(100 * decay)}",
        group=REALISED,
        doc=f"Log of the exponential mean variance with decay {decay}, halved.",
        warmup_days=10,
        memory_days=k.ewm_memory(decay) + 1,
        params={"decay": decay},
        compute=lambda c: 0.5 * k.log_of(k.ewm_mean(c.variance, decay, min_rows=10)),
    )


def _slope(fast: int, slow: int) -> Feature:
    return Feature(
        name=f"har_slope_{fast}_{slow}",
        group=REALISED,
        doc=f"har_{fast} less har_{slow}: whether volatility is above its longer mean.",
        warmup_days=slow,
        params={"fast": fast, "slow": slow},
        compute=lambda c: 0.5 * (c.log_variance_mean(fast) - c.log_variance_mean(slow)),
    )


def _downside(window: int) -> Feature:
    def compute(c: Context) -> Floats:
        down = k.rolling_mean(np.minimum(c.returns, 0.0) ** 2, window)
        return k.ratio(down, k.rolling_mean(c.squared, window))

    return Feature(
        name=f"downside_share_{window}",
        group=REALISED,
        doc=f"Negative semivariance over realised variance, {window} days, 0 to 1.",
        warmup_days=window,
        params={"window": window},
        compute=compute,
    )


def _leverage(window: int) -> Feature:
    return Feature(
        name=f"leverage_{window}",
        group=REALISED,
        doc=f"Mean return of {window} days where it is negative, in units of volatility; else zero.",
        warmup_days=max(window, 10),
        memory_days=SCALE_MEMORY,
        params={"window": window},
        compute=lambda c: np.minimum(k.ratio(k.rolling_mean(c.returns, window), c.scale), 0.0),
    )


def _jumps(window: int) -> Feature:
    def compute(c: Context) -> Floats:
        size = np.abs(c.returns)
        bipower = np.pi / 2 * k.rolling_mean(size * k.shift(size, 1), window)
        return np.maximum(1 - k.ratio(bipower, k.rolling_mean(c.squared, window)), 0.0)

    return Feature(
        name=f"jump_share_{window}",
        group=REALISED,
        doc=f"Share of the realised variance of {window} days that bipower variation does not explain.",
        warmup_days=window + 1,
        params={"window": window},
        compute=compute,
    )


def _largest(window: int) -> Feature:
    def compute(c: Context) -> Floats:
        size = np.abs(c.returns)
        return k.log_of(k.ratio(k.rolling_max(size, window), k.rolling_mean(size, window)))

    return Feature(
        name=f"largest_move_{window}",
        group=REALISED,
        doc=f"Log of the largest absolute return of {window} days over the mean absolute return.",
        warmup_days=window,
        params={"window": window},
        compute=compute,
    )


def _moment(name: str, power: int, window: int, doc: str) -> Feature:
    def compute(c: Context) -> Floats:
        return k.ratio(
            k.rolling_mean(c.returns**power, window), k.rolling_mean(c.squared, window) ** (power / 2)
        )

    return Feature(
        name=f"{name}_{window}",
        group=REALISED,
        doc=doc,
        warmup_days=window,
        params={"window": window},
        compute=compute,
    )


def _log_daily(c: Context) -> Floats:
    return c.keep("log_daily", lambda: 0.5 * k.log_of(c.variance))


def _autocorrelation(c: Context) -> Floats:
    """Return the first autocorrelation of returns over 60 days, uncentred."""
    return k.ratio(k.rolling_mean(c.returns * k.shift(c.returns, 1), 60), k.rolling_mean(c.squared, 60))


REALISED_FEATURES = (
    *(_har(w) for w in HAR_SPANS),
    *(_realised(w) for w in RETURN_SPANS),
    *(_ewma(d) for d in DECAYS),
    *(_slope(f, s) for f, s in ((3, 14), (7, 30), (30, 180))),
    *(_downside(w) for w in (7, 30)),
    *(_leverage(w) for w in (1, 7, 30)),
    *(_jumps(w) for w in (14, 60)),
    *(_largest(w) for w in (7, 30)),
    _moment("skewness", 3, 60, "Third moment of 60 daily returns about zero, standardised."),
    _moment("kurtosis", 4, 60, "Fourth moment of 60 daily returns about zero, standardised."),
    Feature(
        "volatility_of_volatility_30",
        REALISED,
        "Standard deviation of the daily log volatility over 30 days.",
        30,
        lambda c: k.rolling_std(_log_daily(c), 30),
    ),
    Feature(
        "autocorrelation_60",
        REALISED,
        "First autocorrelation of daily returns, 60 days.",
        61,
        _autocorrelation,
    ),
)


# Volume: how unusual it is, and whether it came on rising or falling days.

VOLUME = "volume"


def _surprise(fast: int, slow: int) -> Feature:
    def compute(c: Context) -> Floats:
        return k.rolling_mean(c.log_volume, fast) - k.rolling_mean(c.log_volume, slow)

    return Feature(
        name=f"volume_surprise_{fast}_{slow}",
        group=VOLUME,
        doc=f"Mean log volume of {fast} days less that of {slow} days.",
        warmup_days=slow - 1,
        params={"fast": fast, "slow": slow},
        compute=compute,
    )


def _signed_share(c: Context) -> Floats:
    """Return the volume of rising days less that of falling days, over all volume, in 14 days."""
    signed = np.sign(c.returns) * c.candles.volume
    return k.ratio(k.rolling_mean(signed, 14), k.rolling_mean(c.candles.volume, 14))


def _money_flow(c: Context) -> Floats:
    x = c.candles
    typical = (x.high + x.low + x.close) / 3
    change = k.difference(typical, 1)
    flow = np.where(np.isnan(change), np.nan, typical * x.volume)
    up = k.rolling_mean(np.where(change > 0, flow, np.where(np.isnan(flow), np.nan, 0.0)), 14)
    down = k.rolling_mean(np.where(change < 0, flow, np.where(np.isnan(flow), np.nan, 0.0)), 14)
    return 100 * k.ratio(up, up + down)


def _illiquidity(c: Context, window: int) -> Floats:
    return k.log_of(k.rolling_mean(k.ratio(np.abs(c.returns), c.candles.volume), window))


def _with_volatility(c: Context) -> Floats:
    """Return the correlation of log volume with absolute return over 30 days."""
    v = c.log_volume - k.rolling_mean(c.log_volume, 30)
    a = np.abs(c.returns) - k.rolling_mean(np.abs(c.returns), 30)
    return k.ratio(
        k.rolling_mean(v * a, 30), np.sqrt(k.rolling_mean(v * v, 30)) * np.sqrt(k.rolling_mean(a * a, 30))
    )


VOLUME_FEATURES = (
    *(_surprise(f, s) for f, s in ((1, 7), (1, 30), (7, 30), (7, 90), (30, 180))),
    Feature(
        "signed_volume_14", VOLUME, "Volume of rising less falling days over all, 14 days.", 14, _signed_share
    ),
    Feature("money_flow_14", VOLUME, "Money flow index of 14 days, 0 to 100.", 14, _money_flow),
    Feature(
        "illiquidity_change_7_60",
        VOLUME,
        "Amihud's illiquidity of 7 days over that of 60 days, log.",
        60,
        lambda c: _illiquidity(c, 7) - _illiquidity(c, 60),
    ),
    Feature(
        "volume_volatility_30",
        VOLUME,
        "Standard deviation of daily log volume over 30 days.",
        29,
        lambda c: k.rolling_std(c.log_volume, 30),
    ),
    Feature(
        "volume_with_volatility_30",
        VOLUME,
        "Correlation of log volume with the absolute return, both less their 30-day mean, over 30 days.",
        60,
        _with_volatility,
    ),
)


# Drawdown: distances from past extremes.

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


# Cross-section: the coin against bitcoin and the reference coins: returns, volatility, co-movement.

CROSS = "cross"
BETA_DAYS = 60
# The market's series depend on 30 days, one more for the first return, and the current day.
MARKET_MEMORY = 32


def _leader_return(days: int) -> Feature:
    return Feature(
        name=f"leader_return_{days}",
        group=CROSS,
        doc=f"Bitcoin's log return of {days} days in units of its monthly volatility.",
        warmup_days=days - 1,
        memory_days=max(days, 1) + MARKET_MEMORY,
        params={"days": days},
        compute=lambda c: k.ratio(
            k.rolling_mean(c.market.leader_return, days) * np.sqrt(days),
            np.exp(0.5 * c.market.leader_log_variance_long),
        ),
    )


def _against(name: str, source: str, days: int, whom: str) -> Feature:
    return Feature(
        name=f"{name}_{days}",
        group=CROSS,
        doc=f"Log return of {days} days less {whom}.",
        warmup_days=days,
        memory_days=days + MARKET_MEMORY,
        params={"days": days},
        compute=lambda c: k.rolling_mean(c.returns - getattr(c.market, source), days) * days,
    )


def _market(name: str, doc: str, source: str) -> Feature:
    return Feature(
        name=name,
        group=CROSS,
        doc=doc,
        warmup_days=0,
        memory_days=MARKET_MEMORY,
        compute=lambda c: getattr(c.market, source) * (0.5 if "variance" in source else 1.0),
    )


def _co_movement(c: Context) -> tuple[Floats, Floats, Floats]:
    """Return three means over BETA_DAYS: of the coin's return times bitcoin's, and of each return squared."""
    lead = c.market.leader_return
    own = np.where(np.isnan(lead), np.nan, c.returns)
    mean = k.rolling_mean
    return mean(own * lead, BETA_DAYS), mean(own * own, BETA_DAYS), mean(lead * lead, BETA_DAYS)


def _beta(c: Context) -> Floats:
    product, _, square = _co_movement(c)
    return k.ratio(product, square)


def _correlation(c: Context) -> Floats:
    product, own, square = _co_movement(c)
    return k.ratio(product, np.sqrt(own * square))


CROSS_FEATURES = (
    *(_leader_return(d) for d in (1, 7, 30)),
    *(_against("excess_return", "leader_return", d, "bitcoin's") for d in (1, 7, 30)),
    *(_against("relative_return", "mean_return", d, "the mean of the reference coins") for d in (1, 7, 30)),
    _market("leader_volatility_7", "Bitcoin's log volatility of 7 days.", "leader_log_variance"),
    _market("leader_volatility_30", "Bitcoin's log volatility of 30 days.", "leader_log_variance_long"),
    _market("market_volatility_7", "Mean log volatility of 7 days over the reference coins.", "log_variance"),
    _market(
        "market_volatility_30",
        "Mean log volatility of 30 days over the reference coins.",
        "log_variance_long",
    ),
    _market("market_breadth_30", "Share of the reference coins that rose over 30 days.", "breadth"),
    Feature(
        name="market_dispersion_7",
        group=CROSS,
        doc="Log of the mean cross-sectional standard deviation of returns over 7 days.",
        warmup_days=6,
        compute=lambda c: k.log_of(k.rolling_mean(c.market.dispersion, 7)),
        memory_days=7 + MARKET_MEMORY,
    ),
    Feature(
        name="volatility_against_market_7",
        group=CROSS,
        doc="Log volatility of 7 days less the reference coins' mean.",
        warmup_days=7,
        compute=lambda c: 0.5 * (c.log_variance_mean(7) - c.market.log_variance),
        memory_days=7 + MARKET_MEMORY,
    ),
    Feature(
        name="volatility_against_market_30",
        group=CROSS,
        doc="Log volatility of 30 days less the reference coins' mean.",
        warmup_days=30,
        compute=lambda c: 0.5 * (c.log_variance_mean(30) - c.market.log_variance_long),
        memory_days=30 + MARKET_MEMORY,
    ),
    Feature("beta_60", CROSS, "Slope of the return on bitcoin's over 60 days, about zero.", BETA_DAYS, _beta),
    Feature(
        "correlation_60",
        CROSS,
        "Correlation with bitcoin's return over 60 days, about zero.",
        BETA_DAYS,
        _correlation,
    ),
)


# Calendar: weekday, month and year of the closed day.

CALENDAR = "calendar"


def _weekday(c: Context) -> Floats:
    """Return the weekday of each day, 0 for Monday."""
    return ((c.candles.dates.astype(np.int64) + 3) % 7).astype(np.float64)


def _year_share(c: Context) -> Floats:
    start = c.candles.dates.astype("datetime64[Y]").astype("datetime64[D]")
    return np.asarray((c.candles.dates - start).astype(np.int64) / 365.25)


def _month_share(c: Context) -> Floats:
    start = c.candles.dates.astype("datetime64[M]").astype("datetime64[D]")
    return np.asarray((c.candles.dates - start).astype(np.int64) / 30.44)


CALENDAR_FEATURES = (
    Feature(
        "weekday_sin", CALENDAR, "Sine of the weekday.", 0, lambda c: np.sin(2 * np.pi * _weekday(c) / 7)
    ),
    Feature(
        "weekday_cos", CALENDAR, "Cosine of the weekday.", 0, lambda c: np.cos(2 * np.pi * _weekday(c) / 7)
    ),
    Feature(
        "weekend",
        CALENDAR,
        "1 on Saturday and Sunday, else 0.",
        0,
        lambda c: (_weekday(c) >= 5).astype(np.float64),
    ),
    Feature("month_share", CALENDAR, "How far into the month, 0 to 1.", 0, _month_share),
    Feature(
        "year_sin", CALENDAR, "Sine of the day of the year.", 0, lambda c: np.sin(2 * np.pi * _year_share(c))
    ),
    Feature(
        "year_cos",
        CALENDAR,
        "Cosine of the day of the year.",
        0,
        lambda c: np.cos(2 * np.pi * _year_share(c)),
    ),
)


# The order of the columns, which manifests store: a change of it makes older artifacts unusable.
GROUPS = (
    MOMENTUM_FEATURES,
    INDICATOR_FEATURES,
    RANGE_FEATURES,
    REALISED_FEATURES,
    VOLUME_FEATURES,
    DRAWDOWN_FEATURES,
    CROSS_FEATURES,
    CALENDAR_FEATURES,
)


def _collect() -> dict[str, Feature]:
    found: dict[str, Feature] = {}
    for group in GROUPS:
        for feature in group:
            if feature.name in found:
                raise ValueError(f"two features are called {feature.name}")
            found[feature.name] = feature
    return found


FEATURES = _collect()
