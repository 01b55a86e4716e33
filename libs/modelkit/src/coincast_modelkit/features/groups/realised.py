"""Realised volatility at several spans, its asymmetry, jumps and persistence: what forecasts volatility.

Corsi 2009 (HAR), Barndorff-Nielsen and Shephard 2004 (bipower variation), Barndorff-Nielsen et al. 2010
(semivariance), Corsi and Reno 2012 (leverage).
"""

from __future__ import annotations

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.features import rolling as k
from coincast_modelkit.features.context import Context
from coincast_modelkit.features.definition import Feature

GROUP = "realised"
HAR_SPANS = (1, 3, 7, 14, 30, 90, 180)
RETURN_SPANS = (7, 14, 30, 60)
DECAYS = (0.7, 0.85, 0.94, 0.97)


def _har(window: int) -> Feature:
    return Feature(
        name=f"har_{window}",
        group=GROUP,
        doc=f"Half the log of the mean daily variance over {window} days (ranges, else squared returns).",
        warmup_days=window,
        params={"window": window},
        compute=lambda c: 0.5 * c.log_variance_mean(window),
    )


def _realised(window: int) -> Feature:
    return Feature(
        name=f"realised_{window}",
        group=GROUP,
        doc=f"Log of the root mean squared daily return over {window} days.",
        warmup_days=window,
        params={"window": window},
        compute=lambda c: 0.5 * k.log_of(k.rolling_mean(c.squared, window)),
    )


def _ewma(decay: float) -> Feature:
    return Feature(
        name=f"ewma_{round(100 * decay)}",
        group=GROUP,
        doc=f"Log of the exponential mean variance with decay {decay}, halved.",
        warmup_days=10,
        memory_days=k.ewm_memory(decay) + 1,
        params={"decay": decay},
        compute=lambda c: 0.5 * k.log_of(k.ewm_mean(c.variance, decay, min_rows=10)),
    )


def _slope(fast: int, slow: int) -> Feature:
    return Feature(
        name=f"har_slope_{fast}_{slow}",
        group=GROUP,
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
        group=GROUP,
        doc=f"Negative semivariance over realised variance, {window} days, 0 to 1.",
        warmup_days=window,
        params={"window": window},
        compute=compute,
    )


def _leverage(window: int) -> Feature:
    return Feature(
        name=f"leverage_{window}",
        group=GROUP,
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
        group=GROUP,
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
        group=GROUP,
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
        group=GROUP,
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


FEATURES = (
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
        GROUP,
        "Standard deviation of the daily log volatility over 30 days.",
        30,
        lambda c: k.rolling_std(_log_daily(c), 30),
    ),
    Feature(
        "autocorrelation_60", GROUP, "First autocorrelation of daily returns, 60 days.", 61, _autocorrelation
    ),
)
