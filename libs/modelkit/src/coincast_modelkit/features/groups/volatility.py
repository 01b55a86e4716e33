"""Features that forecast volatility: realised volatility from returns, and measures of the day's range.

Realised volatility is computed over several spans, with its asymmetry, jumps and persistence. Measures of the
range are NaN throughout if the API plan gives neither high nor low. Sources: Corsi 2009 (HAR),
Barndorff-Nielsen and Shephard 2004 (bipower variation), Barndorff-Nielsen et al. 2010 (semivariance), Corsi
and Reno 2012 (leverage), Parkinson 1980, Garman and Klass 1980, Rogers and Satchell 1991, Wilder 1978
(average true range).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.features import rolling as k
from coincast_modelkit.features.definition import Context, Feature

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
        memory_days=k.ewm_memory(0.5 ** (1 / 10)) + 1,
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


RANGES_FEATURES = (
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
