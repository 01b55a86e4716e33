"""Replies of `coins/markets`: a page of the table of coins, one row per coin."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from coincast_sandbox.replies.numbers import spot
from coincast_sandbox.replies.spot import Spot, change_percent, percent, spot_of
from coincast_sandbox.simulation.candles import iso, midnight
from coincast_sandbox.simulation.market import Market, hash_of


def ranked_ids(market: Market, order: str) -> list[str]:
    """Return all coin ids in the requested order, by default with falling market cap."""
    ids = list(market.series)
    if order in {"id_asc", "id_desc"}:
        return sorted(ids, reverse=order == "id_desc")
    if order in {"volume_asc", "volume_desc"}:
        last = market.last_closed_day()
        volumes = {i: float(market.series[i].candles(last).volume[-1]) for i in ids}
        return sorted(ids, key=volumes.__getitem__, reverse=order == "volume_desc")
    return ids[::-1] if order == "market_cap_asc" else ids


def market_row(
    market: Market, coin_id: str, currency: str, changes: list[str], *, sparkline: bool, precision: str | None
) -> dict[str, Any]:
    """Return the row of one coin; numbers that CoinGecko may leave out are None."""
    now = spot_of(market, coin_id, currency)
    row = _names(market, coin_id) | _figures(market, coin_id, currency, now, precision)
    peaks = extremes(market, coin_id, currency)
    for name in ("ath", "atl"):
        peaks[name] = spot(peaks[name], currency, precision, table=True)
    row |= peaks
    row["last_updated"] = iso(now.updated_at)
    for span in changes:
        row[f"price_change_percentage_{span}_in_currency"] = change_percent(market, coin_id, currency, span)
    if sparkline:
        row["sparkline_in_7d"] = {"price": sparkline_7d(market, coin_id, currency)}
    return row


def rank(market: Market, coin_id: str) -> int:
    """Return the rank by market cap; the first is 1."""
    return list(market.series).index(coin_id) + 1


def supplies(market: Market, coin_id: str) -> dict[str, float | None]:
    """Return circulating, total and maximum supply in coins; most coins have no maximum."""
    supply = market.supply(coin_id)
    limit = supply * 1.1 if supply is not None and hash_of(coin_id) % 3 == 0 else None
    return {"circulating_supply": supply, "total_supply": supply, "max_supply": limit}


def extremes(market: Market, coin_id: str, currency: str) -> dict[str, Any]:
    """Return all-time high and low over the closed candles, converted at the current rate."""
    now = np.array([market.clock.now()])
    last = market.last_closed_day()
    candles = market.series[coin_id].candles(last)
    rate = float(market.per_usd(currency, now)[0])
    price = float(market.series[coin_id].price_at(now)[0]) * rate
    count = max(last - candles.first_day + 1, 1)
    found: dict[str, Any] = {}
    for name, column, place in (("ath", candles.high, np.argmax), ("atl", candles.low, np.argmin)):
        at = int(place(column[:count]))
        value = float(column[at]) * rate
        found[name] = value
        found[f"{name}_change_percentage"] = percent(price, value)
        found[f"{name}_date"] = iso(midnight(candles.first_day + at))
    return found


def image_url(coin_id: str, size: str) -> str:
    """Return an invented URL of a coin's image."""
    return f"https://coin-images.coingecko.com/coins/images/{hash_of(coin_id)}/{size}/{coin_id}.png"


def sparkline_7d(market: Market, coin_id: str, currency: str) -> list[float]:
    """Return hourly prices over seven days, oldest first."""
    now = market.clock.now()
    start = max(now - 7 * 86400, market.series[coin_id].started())
    times = start + np.arange(max(math.floor((now - start) / 3600), 1), dtype=np.float64) * 3600.0
    prices = market.series[coin_id].price_at(times) * market.per_usd(currency, times)
    return [float(p) for p in prices]


def _names(market: Market, coin_id: str) -> dict[str, Any]:
    coin = market.names[coin_id]
    return {"id": coin_id, "symbol": coin.symbol, "name": coin.name, "image": image_url(coin_id, "large")}


def _figures(market: Market, coin_id: str, currency: str, now: Spot, precision: str | None) -> dict[str, Any]:
    cap, before = now.market_cap, now.market_cap_24h_ago
    change = None if now.price_24h_ago is None else now.price - now.price_24h_ago
    place = rank(market, coin_id) if cap is not None else None
    return {
        "current_price": spot(now.price, currency, precision, table=True),
        "market_cap": _whole(cap),
        "market_cap_rank": place,
        "market_cap_rank_with_rehypothecated": place,
        "fully_diluted_valuation": _whole(cap),
        "total_volume": _whole(now.volume_24h),
        "high_24h": spot(now.high_24h, currency, precision, table=True),
        "low_24h": spot(now.low_24h, currency, precision, table=True),
        "price_change_24h": change,
        "price_change_percentage_24h": now.change_24h_percent(),
        "market_cap_change_24h": None if cap is None or before is None else cap - before,
        "market_cap_change_percentage_24h": None if cap is None else percent(cap, before),
        **supplies(market, coin_id),
        "roi": None,
    }


def _whole(value: float | None) -> int | float | None:
    """Return a large amount without decimals, like CoinGecko."""
    return None if value is None else round(value) if abs(value) >= 1000 else value
