"""Replies of `exchanges`, `exchanges/list` and `coins/{id}/tickers`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from coincast_sandbox.http.query import flag, split_list, whole
from coincast_sandbox.replies.numbers import spot
from coincast_sandbox.replies.spot import spot_of
from coincast_sandbox.simulation.candles import iso
from coincast_sandbox.simulation.market import Market
from coincast_sandbox.simulation.reference import EXCHANGES, Exchange

TICKERS_PER_PAGE = 100
_QUOTES = {"tether": "USDT", "usd-coin": "USDC"}


def exchange_rows(market: Market) -> list[dict[str, Any]]:
    """Return every exchange with its trade volume in bitcoin."""
    last = market.last_closed_day()
    total = sum(float(series.candles(last).volume[-1]) for series in market.series.values())
    in_bitcoin = total * float(market.per_usd("btc", np.array([market.clock.now()]))[0])
    return [
        {
            "id": exchange.id,
            "name": exchange.name,
            "year_established": exchange.year,
            "country": exchange.country,
            "description": "",
            "url": f"https://{exchange.id.replace('_', '-')}.example/",
            "image": _logo(exchange),
            "has_trading_incentive": False,
            "trust_score": 10 - place,
            "trust_score_rank": place + 1,
            "trade_volume_24h_btc": in_bitcoin * exchange.share,
        }
        for place, exchange in enumerate(EXCHANGES)
    ]


def exchange_names() -> list[dict[str, str]]:
    """Return id and name of every exchange."""
    return [{"id": exchange.id, "name": exchange.name} for exchange in EXCHANGES]


def coin_tickers(market: Market, coin_id: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return a page of the trading pairs of a coin."""
    only = set(split_list(query.get("exchange_ids", "")))
    rows = [
        _ticker(market, coin_id, exchange, quote, query)
        for exchange in EXCHANGES
        if not only or exchange.id in only
        for quote in _QUOTES
        if quote != coin_id
    ]
    if query.get("order", "").startswith("volume_"):
        rows.sort(key=lambda row: float(row["volume"]), reverse=query["order"] == "volume_desc")
    first = (whole(query, "page", default=1, least=1, most=10_000) - 1) * TICKERS_PER_PAGE
    return rows[first : first + TICKERS_PER_PAGE]


def _ticker(
    market: Market, coin_id: str, exchange: Exchange, quote: str, query: Mapping[str, str]
) -> dict[str, Any]:
    spots = {code: spot_of(market, coin_id, code) for code in ("btc", "eth", "usd")}
    volume = spots["usd"].volume_24h * exchange.share / len(_QUOTES) / spots["usd"].price
    place: dict[str, Any] = {"name": exchange.name, "identifier": exchange.id, "has_trading_incentive": False}
    if flag(query, "include_exchange_logo"):
        place["logo"] = _logo(exchange)
    depth = {"cost_to_move_up_usd": volume / 100, "cost_to_move_down_usd": volume / 110}
    moment = iso(spots["usd"].updated_at).replace(".000Z", "+00:00")
    return {
        "base": market.names[coin_id].symbol.upper(),
        "target": _QUOTES[quote],
        "market": place,
        "last": spots["usd"].price,
        "volume": volume,
        **(depth if flag(query, "depth") else {}),
        "converted_last": {code: spot(s.price, code) for code, s in spots.items()},
        "converted_volume": {code: round(volume * s.price) for code, s in spots.items()},
        "trust_score": "green",
        "bid_ask_spread_percentage": 0.010013,
        "timestamp": moment,
        "last_traded_at": moment,
        "last_fetch_at": moment,
        "is_anomaly": False,
        "is_stale": False,
        "trade_url": f"https://{exchange.id.replace('_', '-')}.example/trade/{market.names[coin_id].symbol}",
        "token_info_url": None,
        "coin_id": coin_id,
        "target_coin_id": quote,
        "coin_mcap_usd": spots["usd"].market_cap or 0.0,
    }


def _logo(exchange: Exchange) -> str:
    return f"https://coin-images.coingecko.com/markets/images/{exchange.id}/small/{exchange.id}.png"
