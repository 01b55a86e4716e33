"""Current figures of a coin and their changes, shared by several replies."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from coincast_sandbox.simulation.candles import Floats
from coincast_sandbox.simulation.market import Market

DAY = 86400.0
CHANGE_DAYS = {
    "1h": 1 / 24,
    "24h": 1.0,
    "7d": 7.0,
    "14d": 14.0,
    "30d": 30.0,
    "60d": 60.0,
    "200d": 200.0,
    "1y": 365.0,
}


@dataclass(frozen=True, slots=True)
class Spot:
    """Figures of one coin at one time, in one currency."""

    price: float
    market_cap: float | None
    volume_24h: float
    high_24h: float
    low_24h: float
    price_24h_ago: float | None
    market_cap_24h_ago: float | None
    updated_at: float

    def change_24h_percent(self) -> float | None:
        """Return the change over 24 hours in percent: 1.5 means +1.5 %."""
        return percent(self.price, self.price_24h_ago)


def percent(new: float, old: float | None) -> float | None:
    """Return the change from old to new in percent; None without an old value."""
    return None if old is None else (new / old - 1) * 100


def spot_of(market: Market, coin_id: str, currency: str) -> Spot:
    """Return the coin's current figures; like CoinGecko's, they are up to 20 seconds old."""
    now = market.clock.now()
    updated_at = now - now % 20
    times = np.array([updated_at, updated_at - DAY])
    rate = market.per_usd(currency, times)
    prices = market.series[coin_id].price_at(times) * rate
    recent = window(market, coin_id, updated_at) * rate[0]
    supply = market.supply(coin_id)
    volume = float(market.series[coin_id].volume_24h_at(times[:1])[0] * rate[0])
    price, before = float(prices[0]), _known(prices[1])
    cap = None if supply is None else supply * price
    cap_before = None if supply is None or before is None else supply * before
    high, low = max(float(recent.max()), price), min(float(recent.min()), price)
    return Spot(
        price=price,
        market_cap=cap,
        volume_24h=volume,
        high_24h=high,
        low_24h=low,
        price_24h_ago=before,
        market_cap_24h_ago=cap_before,
        updated_at=updated_at,
    )


def change_percent(market: Market, coin_id: str, currency: str, span: str) -> float | None:
    """Return the change over one of CHANGE_DAYS in percent; None for a younger coin."""
    now = market.clock.now()
    times = np.array([now, now - CHANGE_DAYS[span] * DAY])
    prices = market.series[coin_id].price_at(times) * market.per_usd(currency, times)
    return percent(float(prices[0]), _known(prices[1]))


def window(market: Market, coin_id: str, end: float) -> Floats:
    """Return the USD prices of the points in the 24 hours before `end`."""
    series = market.series[coin_id]
    today = math.floor(end / DAY)
    days = [series.points(day) for day in (today - 1, today) if day >= series.first_day]
    times = np.concatenate([times for times, _ in days])
    prices = np.concatenate([path for _, path in days])
    inside = prices[(times > end - DAY) & (times <= end)]
    return inside if len(inside) else prices[:1]


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
