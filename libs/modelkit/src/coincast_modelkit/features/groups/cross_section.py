"""Features that compare the coin with bitcoin and the reference coins: returns, volatility, co-movement."""

from __future__ import annotations

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.features import rolling as k
from coincast_modelkit.features.definition import Context, Feature

GROUP = "cross"
BETA_DAYS = 60
# The market's series depend on 30 days, one more for the first return, and the current day.
MARKET_MEMORY = 32


def _leader_return(days: int) -> Feature:
    return Feature(
        name=f"leader_return_{days}",
        group=GROUP,
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
        group=GROUP,
        doc=f"Log return of {days} days less {whom}.",
        warmup_days=days,
        memory_days=days + MARKET_MEMORY,
        params={"days": days},
        compute=lambda c: k.rolling_mean(c.returns - getattr(c.market, source), days) * days,
    )


def _market(name: str, doc: str, source: str) -> Feature:
    return Feature(
        name=name,
        group=GROUP,
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


FEATURES = (
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
        group=GROUP,
        doc="Log of the mean cross-sectional standard deviation of returns over 7 days.",
        warmup_days=6,
        compute=lambda c: k.log_of(k.rolling_mean(c.market.dispersion, 7)),
        memory_days=7 + MARKET_MEMORY,
    ),
    Feature(
        name="volatility_against_market_7",
        group=GROUP,
        doc="Log volatility of 7 days less the reference coins' mean.",
        warmup_days=7,
        compute=lambda c: 0.5 * (c.log_variance_mean(7) - c.market.log_variance),
        memory_days=7 + MARKET_MEMORY,
    ),
    Feature(
        name="volatility_against_market_30",
        group=GROUP,
        doc="Log volatility of 30 days less the reference coins' mean.",
        warmup_days=30,
        compute=lambda c: 0.5 * (c.log_variance_mean(30) - c.market.log_variance_long),
        memory_days=30 + MARKET_MEMORY,
    ),
    Feature("beta_60", GROUP, "Slope of the return on bitcoin's over 60 days, about zero.", BETA_DAYS, _beta),
    Feature(
        "correlation_60",
        GROUP,
        "Correlation with bitcoin's return over 60 days, about zero.",
        BETA_DAYS,
        _correlation,
    ),
)
