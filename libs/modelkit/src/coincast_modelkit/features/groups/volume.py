"""Features of the volume; NaN throughout if the API plan gives none.

They measure how unusual the volume is, and whether it came on rising or falling days. Sources: Amihud 2002
(illiquidity); Quong and Soudack 1989 (money flow).
"""

from __future__ import annotations

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.features import rolling as k
from coincast_modelkit.features.definition import Context, Feature

GROUP = "volume"


def _surprise(fast: int, slow: int) -> Feature:
    def compute(c: Context) -> Floats:
        return k.rolling_mean(c.log_volume, fast) - k.rolling_mean(c.log_volume, slow)

    return Feature(
        name=f"volume_surprise_{fast}_{slow}",
        group=GROUP,
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


FEATURES = (
    *(_surprise(f, s) for f, s in ((1, 7), (1, 30), (7, 30), (7, 90), (30, 180))),
    Feature(
        "signed_volume_14", GROUP, "Volume of rising less falling days over all, 14 days.", 14, _signed_share
    ),
    Feature("money_flow_14", GROUP, "Money flow index of 14 days, 0 to 100.", 14, _money_flow),
    Feature(
        "illiquidity_change_7_60",
        GROUP,
        "Amihud's illiquidity of 7 days over that of 60 days, log.",
        60,
        lambda c: _illiquidity(c, 7) - _illiquidity(c, 60),
    ),
    Feature(
        "volume_volatility_30",
        GROUP,
        "Standard deviation of daily log volume over 30 days.",
        29,
        lambda c: k.rolling_std(c.log_volume, 30),
    ),
    Feature(
        "volume_with_volatility_30",
        GROUP,
        "Correlation of log volume with the absolute return, both less their 30-day mean, over 30 days.",
        60,
        _with_volatility,
    ),
)
