"""`coins/list`, `coins/{id}`, its `history`, and `search`: documents about what a coin is."""

from typing import Any

import numpy as np

from coincast_sandbox.replies.markets import extremes, rank, supplies
from coincast_sandbox.replies.spot import CHANGE_DAYS, Spot, change_percent, percent, spot_of
from coincast_sandbox.simulation.candles import iso, midnight
from coincast_sandbox.simulation.market import Market


def coins_list(market: Market, *, platforms: bool) -> list[dict[str, Any]]:
    """Every coin's id, symbol and name."""
    extra: dict[str, Any] = {"platforms": {}} if platforms else {}
    return [
        {"id": c.id, "symbol": c.symbol, "name": c.name, **extra}
        for c in map(market.names.get, market.series)
        if c
    ]


def coin_document(market: Market, coin_id: str, *, market_data: bool) -> dict[str, Any]:
    """One coin in full, in every currency."""
    coin = market.names[coin_id]
    document: dict[str, Any] = {
        "id": coin_id, "symbol": coin.symbol, "name": coin.name, "web_slug": coin_id,
        "asset_platform_id": None,
        "platforms": {}, "detail_platforms": {}, "block_time_in_minutes": 10, "hashing_algorithm": None,
        "categories": ["Cryptocurrency"], "preview_listing": False, "public_notice": None,
        "additional_notices": [], "has_supply_breakdown": False,
        "localization": {"en": coin.name}, "description": {"en": f"{coin.name}, as the sandbox makes it up."},
        "links": {"homepage": [""], "blockchain_site": [""]},
        "image": {"thumb": "", "small": "", "large": ""},
        "country_origin": "", "genesis_date": None, "sentiment_votes_up_percentage": None,
        "sentiment_votes_down_percentage": None, "watchlist_portfolio_users": 0,
        "market_cap_rank": rank(market, coin_id), "status_updates": [], "tickers": [],
        "last_updated": iso(market.clock.now()),
    }  # fmt: skip
    if market_data:
        document["market_data"] = _market_data(market, coin_id)
    return document


def coin_history(market: Market, coin_id: str, day: int) -> dict[str, Any]:
    """The coin at 00:00 UTC of a day; `market_data` is absent where the coin had no price yet."""
    coin = market.names[coin_id]
    document: dict[str, Any] = {
        "id": coin_id,
        "symbol": coin.symbol,
        "name": coin.name,
        "localization": {"en": coin.name},
        "image": {"thumb": "", "small": ""},
        "public_interest_stats": {"alexa_rank": None, "bing_matches": None},
    }
    series = market.series[coin_id]
    if day - 1 < series.first_day or day > market.last_closed_day() + 1:
        return document
    close = float(series.daily("close", np.array([day - 1]))[0])
    volume = float(series.daily("volume", np.array([day - 1]))[0])
    rates = {c: float(market.per_usd(c, np.array([midnight(day)]))[0]) for c in market.currencies()}
    supply = market.supply(coin_id)
    document["market_data"] = {
        "current_price": {c: close * r for c, r in rates.items()},
        "market_cap": {c: close * r * supply for c, r in rates.items()} if supply is not None else {},
        "total_volume": {c: volume * r for c, r in rates.items()},
    }
    return document


def search(market: Market, query: str) -> dict[str, Any]:
    """Coins whose id, symbol or name contains the query."""
    wanted = query.casefold()
    found = [
        {"id": c.id, "name": c.name, "api_symbol": c.id, "symbol": c.symbol.upper(),
         "market_cap_rank": rank(market, c.id),
         "thumb": "", "large": ""}
        for c in (market.names[i] for i in market.series)
        if wanted in f"{c.id} {c.symbol} {c.name}".casefold()
    ]  # fmt: skip
    return {"coins": found[:25], "exchanges": [], "icos": [], "categories": [], "nfts": []}


def _market_data(market: Market, coin_id: str) -> dict[str, Any]:
    spots = {c: spot_of(market, coin_id, c) for c in market.currencies()}
    usd = spots["usd"]
    peaks = {c: extremes(market, coin_id, c) for c in spots}
    data: dict[str, Any] = {
        "current_price": {c: s.price for c, s in spots.items()},
        "market_cap": {c: s.market_cap for c, s in spots.items() if s.market_cap is not None},
        "total_volume": {c: s.volume_24h for c, s in spots.items()},
        "high_24h": {c: s.high_24h for c, s in spots.items()},
        "low_24h": {c: s.low_24h for c, s in spots.items()},
        "market_cap_rank": rank(market, coin_id),
        **_changes(market, coin_id, usd),
        **supplies(market, coin_id),
        "roi": None,
        "last_updated": iso(usd.updated_at),
    }
    for name in ("ath", "ath_change_percentage", "ath_date", "atl", "atl_change_percentage", "atl_date"):
        data[name] = {c: p[name] for c, p in peaks.items()}
    return data


def _changes(market: Market, coin_id: str, usd: Spot) -> dict[str, Any]:
    changes: dict[str, Any] = {
        f"price_change_percentage_{span}": change_percent(market, coin_id, "usd", span)
        for span in CHANGE_DAYS
    }
    before, cap = usd.price_24h_ago, usd.market_cap
    changes["price_change_24h"] = None if before is None else usd.price - before
    changes["price_change_percentage_24h_in_currency"] = {
        c: change_percent(market, coin_id, c, "24h") for c in market.currencies()
    }
    changes["market_cap_change_percentage_24h"] = (
        None if cap is None else percent(cap, usd.market_cap_24h_ago)
    )
    return changes
