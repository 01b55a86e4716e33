"""Replies of `coins/list`, `coins/{id}`, `coins/{id}/history` and `search`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from coincast_sandbox.http.query import flag
from coincast_sandbox.replies.exchanges import coin_tickers
from coincast_sandbox.replies.markets import extremes, image_url, rank, sparkline_7d, supplies
from coincast_sandbox.replies.spot import CHANGE_DAYS, spot_of
from coincast_sandbox.simulation.candles import iso, midnight
from coincast_sandbox.simulation.market import Market, hash_of
from coincast_sandbox.simulation.reference import CATEGORIES, EXCHANGES, INACTIVE, categories_of, contracts

LANGUAGES = ("en", "de", "es", "fr", "it", "pl", "ro", "hu", "nl", "pt", "sv", "vi", "tr", "ru", "ja", "zh",
             "zh-tw", "ko", "ar", "th", "id", "cs", "da", "el", "hi", "no", "sk", "uk", "he", "fi", "bg",
             "hr", "lt", "sl")  # fmt: skip
_EXTREMES = ("ath", "ath_change_percentage", "ath_date", "atl", "atl_change_percentage", "atl_date")


def coins_list(market: Market, *, platforms: bool, active: bool) -> list[dict[str, Any]]:
    """Return id, symbol and name of every active or every inactive coin."""
    coins = [market.names[i] for i in market.series] if active else list(INACTIVE)
    return [
        {
            "id": c.id,
            "symbol": c.symbol,
            "name": c.name,
            **({"platforms": contracts(c.id)} if platforms else {}),
        }
        for c in coins
    ]


def coin_document(market: Market, coin_id: str, query: Mapping[str, str]) -> dict[str, Any]:
    """Return the full document of one coin, without the parts that `query` switches off."""
    coin = market.names[coin_id]
    platforms: dict[str, str] = contracts(coin_id) or {"": ""}
    document: dict[str, Any] = {
        "id": coin_id,
        "symbol": coin.symbol,
        "name": coin.name,
        "web_slug": coin_id,
        "asset_platform_id": next(iter(contracts(coin_id)), None),
        "platforms": platforms,
        "detail_platforms": {
            name: {"decimal_place": 18 if address else None, "contract_address": address}
            for name, address in platforms.items()
        },
        "block_time_in_minutes": 0 if contracts(coin_id) else 10,
        "hashing_algorithm": None,
        "categories": [c.name for c in categories_of(coin_id)],
        "preview_listing": False,
        "public_notice": None,
        "additional_notices": [],
        "has_supply_breakdown": False,
    }
    if flag(query, "include_categories_details"):
        document["categories_details"] = [{"id": c.id, "name": c.name} for c in categories_of(coin_id)]
    if flag(query, "localization", default=True):
        document["localization"] = dict.fromkeys(LANGUAGES, coin.name)
    document |= {
        "description": {"en": f"{coin.name} in the sandbox's simulated market."},
        "links": _links(coin_id),
        "image": {size: image_url(coin_id, size) for size in ("thumb", "small", "large")},
        "country_origin": "",
        "genesis_date": None if contracts(coin_id) else "2019-01-01",
        "sentiment_votes_up_percentage": 75.0,
        "sentiment_votes_down_percentage": 25.0,
        "watchlist_portfolio_users": hash_of(coin_id),
        "market_cap_rank": rank(market, coin_id),
        "market_cap_rank_with_rehypothecated": rank(market, coin_id),
    }
    if flag(query, "market_data", default=True):
        document["market_data"] = _market_data(market, coin_id)
        if flag(query, "sparkline"):
            document["market_data"]["sparkline_7d"] = sparkline_7d(market, coin_id, "usd")
    if flag(query, "community_data", default=True):
        document["community_data"] = _community_data(coin_id) | {"telegram_channel_user_count": None}
    if flag(query, "developer_data", default=True):
        document["developer_data"] = _developer_data(coin_id) | {"last_4_weeks_commit_activity_series": []}
    document |= {"status_updates": [], "last_updated": iso(market.clock.now())}
    if flag(query, "tickers", default=True):
        document["tickers"] = coin_tickers(market, coin_id, {})
    return document


def contract_document(market: Market, coin_id: str, address: str, query: Mapping[str, str]) -> dict[str, Any]:
    """Return the full document of one coin with the address of its contract."""
    return coin_document(market, coin_id, query) | {"contract_address": address}


def coin_history(market: Market, coin_id: str, day: int, *, localization: bool) -> dict[str, Any]:
    """Return the coin at 00:00 UTC of a day, without `market_data` if the coin had no price yet."""
    coin = market.names[coin_id]
    document: dict[str, Any] = {"id": coin_id, "symbol": coin.symbol, "name": coin.name}
    if localization:
        document["localization"] = dict.fromkeys(LANGUAGES, coin.name)
    document["image"] = {size: image_url(coin_id, size) for size in ("thumb", "small")}
    series = market.series[coin_id]
    if series.first_day < day <= market.last_closed_day() + 1:
        document["market_data"] = _closing_figures(market, coin_id, day)
    return document | {
        "community_data": _community_data(coin_id),
        "developer_data": _developer_data(coin_id),
        "public_interest_stats": {"alexa_rank": None, "bing_matches": None},
    }


def search(market: Market, query: str) -> dict[str, Any]:
    """Return coins, exchanges and categories whose id, symbol or name contains the query."""
    wanted = query.casefold()
    coins = [
        {"id": c.id, "name": c.name, "api_symbol": c.id, "symbol": c.symbol.upper(),
         "market_cap_rank": rank(market, c.id),
         "thumb": image_url(c.id, "thumb"), "large": image_url(c.id, "large")}
        for c in (market.names[i] for i in market.series)
        if wanted in f"{c.id} {c.symbol} {c.name}".casefold()
    ]  # fmt: skip
    exchanges = [
        {"id": e.id, "name": e.name, "market_type": "spot", "thumb": "", "large": ""}
        for e in EXCHANGES
        if wanted in f"{e.id} {e.name}".casefold()
    ]
    categories = [{"id": c.id, "name": c.name} for c in CATEGORIES if wanted in c.name.casefold()]
    return {"coins": coins[:25], "exchanges": exchanges, "icos": [], "categories": categories, "nfts": []}


def _closing_figures(market: Market, coin_id: str, day: int) -> dict[str, Any]:
    series, supply = market.series[coin_id], market.supply(coin_id)
    close = float(series.daily("close", np.array([day - 1]))[0])
    volume = float(series.daily("volume", np.array([day - 1]))[0])
    moment = np.array([midnight(day)])
    rates = {c: float(market.per_usd(c, moment)[0]) for c in market.currencies()}
    return {
        "current_price": {c: close * r for c, r in rates.items()},
        "market_cap": {c: close * r * (supply or 0.0) for c, r in rates.items()},
        "total_volume": {c: volume * r for c, r in rates.items()},
    }


def _market_data(market: Market, coin_id: str) -> dict[str, Any]:
    """Return the current figures in every currency."""
    usd, codes = spot_of(market, coin_id, "usd"), market.currencies()
    now = usd.updated_at
    times = np.array([now, *(now - days * 86400 for days in CHANGE_DAYS.values())])
    rates = {c: market.per_usd(c, times) for c in codes}
    prices = {c: market.series[coin_id].price_at(times) * r for c, r in rates.items()}
    peaks = extremes(market, coin_id, "usd")
    supply = supplies(market, coin_id)
    cap = usd.market_cap or 0.0
    data: dict[str, Any] = {
        "current_price": _in_each(rates, usd.price),
        "total_value_locked": None,
        "mcap_to_tvl_ratio": None,
        "fdv_to_tvl_ratio": None,
        "roi": None,
    }
    for name in _EXTREMES:
        per_currency = name in ("ath", "atl")
        data[name] = _in_each(rates, peaks[name]) if per_currency else dict.fromkeys(codes, peaks[name])
    data |= {
        "market_cap": _in_each(rates, cap),
        "market_cap_rank": rank(market, coin_id),
        "market_cap_rank_with_rehypothecated": rank(market, coin_id),
        "fully_diluted_valuation": _in_each(rates, cap),
        "market_cap_fdv_ratio": 1.0,
        "outstanding_token_value_usd": None,
        "total_volume": _in_each(rates, usd.volume_24h),
        "high_24h": _in_each(rates, usd.high_24h),
        "low_24h": _in_each(rates, usd.low_24h),
    }
    changes = {
        span: {c: _change(p[0], p[at]) for c, p in prices.items()} for at, span in enumerate(CHANGE_DAYS, 1)
    }
    day = list(CHANGE_DAYS).index("24h") + 1
    moved = {c: _difference(p[0], p[day]) for c, p in prices.items()}
    data["price_change_24h"] = moved["usd"]
    data |= {f"price_change_percentage_{s}": changes[s]["usd"] for s in CHANGE_DAYS if s != "1h"}
    data["market_cap_change_24h"] = moved["usd"] * (supply["circulating_supply"] or 0.0)
    data["market_cap_change_percentage_24h"] = changes["24h"]["usd"]
    data["price_change_24h_in_currency"] = moved
    data |= {f"price_change_percentage_{s}_in_currency": changes[s] for s in CHANGE_DAYS}
    data["market_cap_change_24h_in_currency"] = {
        c: m * (supply["circulating_supply"] or 0.0) for c, m in moved.items()
    }
    data["market_cap_change_percentage_24h_in_currency"] = changes["24h"]
    return data | {
        "total_supply": supply["total_supply"] or 0.0,
        "max_supply": supply["max_supply"],
        "max_supply_infinite": supply["max_supply"] is None,
        "circulating_supply": supply["circulating_supply"] or 0.0,
        "outstanding_supply": None,
        "last_updated": iso(now),
    }


def _in_each(rates: Mapping[str, np.ndarray], usd: float) -> dict[str, float]:
    return {code: usd * float(rate[0]) for code, rate in rates.items()}


def _change(new: float, old: float) -> float:
    """Return the change in percent; 0 for a younger coin, like CoinGecko."""
    return 0.0 if np.isnan(old) else float(new / old - 1) * 100


def _difference(new: float, old: float) -> float:
    return 0.0 if np.isnan(old) else float(new - old)


def _links(coin_id: str) -> dict[str, Any]:
    return {
        "homepage": [f"https://{coin_id.replace(' ', '')}.example/"],
        "whitepaper": "",
        "blockchain_site": [f"https://explorer.example/{coin_id.replace(' ', '')}"],
        "official_forum_url": [],
        "chat_url": [],
        "announcement_url": [],
        "snapshot_url": None,
        "twitter_screen_name": coin_id,
        "facebook_username": "",
        "bitcointalk_thread_identifier": None,
        "telegram_channel_identifier": "",
        "subreddit_url": "",
        "repos_url": {"github": [], "bitbucket": []},
    }


def _community_data(coin_id: str) -> dict[str, Any]:
    return {
        "facebook_likes": None,
        "reddit_average_posts_48h": 0.0,
        "reddit_average_comments_48h": 0.0,
        "reddit_subscribers": hash_of(coin_id),
        "reddit_accounts_active_48h": 0,
    }


def _developer_data(coin_id: str) -> dict[str, Any]:
    size = hash_of(coin_id) % 1000
    return {
        "forks": size,
        "stars": 3 * size,
        "subscribers": size // 2,
        "total_issues": 2 * size,
        "closed_issues": size,
        "pull_requests_merged": size,
        "pull_request_contributors": size // 10,
        "code_additions_deletions_4_weeks": {"additions": size, "deletions": -(size // 2)},
        "commit_count_4_weeks": size // 5,
    }
