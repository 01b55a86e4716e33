"""Replies of `market_chart`, `market_chart/range` and `ohlc`: series of one coin."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from coincast_sandbox.replies.numbers import rounded
from coincast_sandbox.simulation.brownian_bridge import POINTS_PER_DAY, POINTS_PER_HOUR
from coincast_sandbox.simulation.candles import Floats
from coincast_sandbox.simulation.market import SETTLE_SECONDS, Market

DAY = 86400.0


def granularity(span_days: float, interval: str | None) -> str:
    """Return `5m`, `hourly` or `daily`: the requested interval, or CoinGecko's default for the span."""
    if interval in {"5m", "hourly", "daily"}:
        return interval
    if span_days <= 1:
        return "5m"
    return "hourly" if span_days <= 90 else "daily"


def market_chart(
    market: Market,
    coin_id: str,
    currency: str,
    span: tuple[float, float],
    *,
    step: str,
    precision: str | None,
) -> dict[str, Any]:
    """Return the arrays of prices, market caps and volumes.

    If the end of the span is not in the past, the last point is the current price. CoinGecko truncates its
    time to whole seconds, so it may have an earlier time than the point before it.

    Args:
        market: The market.
        coin_id: The coin.
        currency: Lower-case code of the currency.
        span: UNIX seconds (from, to]; the start is excluded.
        step: `5m`, `hourly` or `daily`.
        precision: `full`, `0`..`18` or None.
    """
    now = market.clock.now()
    start, end = span[0], min(span[1], now)
    times, prices = _points(market, coin_id, start, end, step)
    if span[1] >= now:
        times = np.append(times[times < now], float(math.floor(now)))
        prices = prices[: len(times) - 1]
        prices = np.append(prices, market.series[coin_id].price_at(np.array([now])))
    if not len(times):  # The span ends before the coin's first day.
        return {"prices": [], "market_caps": [], "total_volumes": []}
    rate = market.per_usd(currency, times)
    volumes = market.series[coin_id].volume_24h_at(times - 1.0) * rate
    supply = market.supply(coin_id)
    quoted = prices * rate
    caps = quoted * supply if supply is not None else np.full(times.shape, np.nan)
    return {
        "prices": _pairs(times, quoted, precision),
        "market_caps": _pairs(times, caps, precision),
        "total_volumes": _pairs(times, volumes, precision),
    }


def ohlc(
    market: Market, coin_id: str, currency: str, days: float, *, width: float, precision: str | None
) -> list[list[float]]:
    """Return closed candles of `width` seconds over the last `days`, with the times of their closes."""
    now = market.clock.now()
    series = market.series[coin_id]
    begins = max(now - days * DAY, series.started())
    edges = np.arange(math.ceil(begins / width), math.floor(now / width) + 1) * width
    if len(edges) < 2:
        return []
    times, prices = _points(market, coin_id, float(edges[0]) - 1e-3, float(edges[-1]), "5m")
    quoted = prices * market.per_usd(currency, times)
    slots = np.searchsorted(edges, times, side="right") - 1
    starts = np.searchsorted(slots, np.arange(len(edges)))
    candles = []
    for slot in range(len(edges) - 1):
        inside = quoted[starts[slot] : starts[slot + 1]]
        if len(inside):
            values = (inside[0], inside.max(), inside.min(), inside[-1])
            candles.append([int(edges[slot + 1] * 1000), *(rounded(float(v), precision) for v in values)])
    return candles


def ohlc_width(days: float, interval: str | None) -> float:
    """Return the width of an `ohlc` candle in seconds.

    Without an interval it is 30 minutes for up to 2 days, 4 hours for up to 30 days, and 4 days for longer
    spans.
    """
    if interval in {"hourly", "daily"}:
        return 3600.0 if interval == "hourly" else DAY
    if days <= 2:
        return 1800.0
    return 14400.0 if days <= 30 else 4 * DAY


def _points(market: Market, coin_id: str, start: float, end: float, step: str) -> tuple[Floats, Floats]:
    """Return UNIX seconds and USD prices of the points in (start, end]."""
    if step == "daily":
        return _daily_points(market, coin_id, start, end)
    series = market.series[coin_id]
    stride = POINTS_PER_HOUR if step == "hourly" else 1
    first, last = max(math.floor(start / DAY), series.first_day), math.floor(end / DAY)
    if last < first:
        return np.empty(0), np.empty(0)
    days = [series.points(day) for day in range(first, last + 1)]
    times = np.concatenate([times[0:POINTS_PER_DAY:stride] for times, _ in days])
    prices = np.concatenate([path[0:POINTS_PER_DAY:stride] for _, path in days])
    inside = (times > start) & (times <= end)
    return times[inside], prices[inside]


def _daily_points(market: Market, coin_id: str, start: float, end: float) -> tuple[Floats, Floats]:
    """Return a point at each 00:00 UTC with the close of the previous day; today's appears at 00:35."""
    series = market.series[coin_id]
    settled = math.floor((market.clock.now() - SETTLE_SECONDS) / DAY)
    first = max(math.floor(start / DAY) + 1, series.first_day + 1)
    stamps = np.arange(first, min(math.floor(end / DAY), settled) + 1)
    if not len(stamps):
        return np.empty(0), np.empty(0)
    return stamps.astype(np.float64) * DAY, series.daily("close", stamps - 1)


def _pairs(times: Floats, values: Floats, precision: str | None) -> list[list[float | int | None]]:
    return [
        [int(t * 1000), None if math.isnan(v) else rounded(v, precision)]
        for t, v in zip(times.tolist(), values.tolist(), strict=True)
    ]
