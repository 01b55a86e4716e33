"""Replies about the market as a whole: global figures, trends, rates, categories, platforms."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from coincast_sandbox.replies.markets import image_url, rank
from coincast_sandbox.replies.spot import Spot, change_percent, spot_of
from coincast_sandbox.simulation.candles import iso
from coincast_sandbox.simulation.currencies import CURRENCIES
from coincast_sandbox.simulation.market import Market, hash_of
from coincast_sandbox.simulation.reference import CATEGORIES, EXCHANGES, PLATFORMS, Category, categories_of

TRENDING_COINS = 15


def global_figures(market: Market) -> dict[str, Any]:
    """Return the totals of all coins in every currency."""
    spots = {i: spot_of(market, i, "usd") for i in market.series}
    cap, before, volume = _totals(spots.values())
    now = np.array([market.clock.now()])
    rates = {c: float(market.per_usd(c, now)[0]) for c in market.currencies()}
    largest = list(market.series)[:10]
    return {
        "data": {
            "active_cryptocurrencies": len(market.series),
            "upcoming_icos": 0,
            "ongoing_icos": 49,
            "ended_icos": 3376,
            "markets": len(EXCHANGES),
            "total_market_cap": {c: cap * r for c, r in rates.items()},
            "total_volume": {c: volume * r for c, r in rates.items()},
            "market_cap_percentage": {
                market.names[i].symbol: (spots[i].market_cap or 0.0) / cap * 100 for i in largest
            },
            "market_cap_change_percentage_24h_usd": (cap / before - 1) * 100,
            "volume_change_percentage_24h_usd": 0.0,
            "updated_at": int(market.clock.now()),
        }
    }


def defi_figures(market: Market) -> dict[str, Any]:
    """Return the totals of decentralised finance; like CoinGecko's, its amounts are strings."""
    spots = {i: spot_of(market, i, "usd") for i in _members(market, "decentralized-finance-defi")}
    cap, _, volume = _totals(spots.values())
    all_caps, _, _ = _totals(spot_of(market, i, "usd") for i in market.series)
    ether = (spot_of(market, "ethereum", "usd").market_cap or 0.0) if "ethereum" in market.series else 0.0
    top = max(spots, key=lambda i: spots[i].market_cap or 0.0, default=None)
    top_cap = (spots[top].market_cap or 0.0) if top else 0.0
    return {
        "data": {
            "defi_market_cap": str(cap),
            "eth_market_cap": str(ether),
            "defi_to_eth_ratio": str(cap / ether * 100 if ether else 0.0),
            "trading_volume_24h": str(volume),
            "defi_dominance": str(cap / all_caps * 100),
            "top_coin_name": market.names[top].name if top else "",
            "top_coin_defi_dominance": top_cap / cap * 100 if cap else 0.0,
        }
    }


def exchange_rates(market: Market) -> dict[str, Any]:
    """Return the value of one bitcoin in every currency."""
    now = np.array([market.clock.now()])
    bitcoin = float(market.per_usd("btc", now)[0])
    return {
        "rates": {
            code: {
                "name": currency.name,
                "unit": currency.unit,
                "value": round(float(market.per_usd(code, now)[0]) / bitcoin, 3),
                "type": currency.kind,
            }
            for code, currency in CURRENCIES.items()
        }
    }


def trending(market: Market) -> dict[str, Any]:
    """Return the coins with the largest moves in 24 hours, and the categories."""
    moves = {i: change_percent(market, i, "usd", "24h") or 0.0 for i in market.series}
    chosen = sorted(moves, key=lambda i: -abs(moves[i]))[:TRENDING_COINS]
    return {
        "coins": [{"item": _trending_item(market, i, place)} for place, i in enumerate(chosen)],
        "nfts": [],
        "categories": [
            _trending_category(market, c, number)
            for number, c in enumerate(CATEGORIES, 1)
            if _members(market, c.id)
        ],
    }


def category_rows(market: Market, order: str) -> list[dict[str, Any]]:
    """Return every category with its totals, in the requested order."""
    rows = [_category_row(market, c) for c in CATEGORIES if _members(market, c.id)]
    keys = {"name": "name", "market_cap_change_24h": "market_cap_change_24h"}
    name = order.removesuffix("_desc").removesuffix("_asc")
    column = keys.get(name, "market_cap")
    return sorted(rows, key=lambda row: row[column], reverse=not order.endswith("_asc"))


def category_names() -> list[dict[str, str]]:
    """Return id and name of every category."""
    return [{"category_id": c.id, "name": c.name} for c in CATEGORIES]


def asset_platforms() -> list[dict[str, Any]]:
    """Return every asset platform (chain with tokens)."""
    sizes = ("thumb", "small", "large")
    base = "https://coin-images.coingecko.com/asset_platforms/images"
    return [
        {
            "id": p.id,
            "chain_identifier": p.chain_identifier,
            "name": p.name,
            "shortname": "",
            "native_coin_id": p.native_coin_id,
            "image": {size: f"{base}/{hash_of(p.id)}/{size}/{p.id}.png" for size in sizes},
        }
        for p in PLATFORMS
    ]


def _members(market: Market, category_id: str) -> list[str]:
    return [i for i in market.series if any(c.id == category_id for c in categories_of(i))]


def _totals(spots: Iterable[Spot]) -> tuple[float, float, float]:
    """Return the sums of market cap, market cap a day ago, and volume."""
    cap = before = volume = 0.0
    for one in spots:
        cap += one.market_cap or 0.0
        before += one.market_cap_24h_ago or one.market_cap or 0.0
        volume += one.volume_24h
    return cap, before, volume


def _category_row(market: Market, category: Category) -> dict[str, Any]:
    members = _members(market, category.id)
    cap, before, volume = _totals(spot_of(market, i, "usd") for i in members)
    return {
        "id": category.id,
        "name": category.name,
        "market_cap": cap,
        "market_cap_change_24h": (cap / before - 1) * 100 if before else 0.0,
        "content": category.description,
        "top_3_coins_id": members[:3],
        "top_3_coins": [image_url(i, "small") for i in members[:3]],
        "volume_24h": volume,
        "updated_at": iso(market.clock.now()),
    }


def _trending_category(market: Market, category: Category, number: int) -> dict[str, Any]:
    row = _category_row(market, category)
    bitcoin = float(market.per_usd("btc", np.array([market.clock.now()]))[0])
    return {
        "id": number,
        "name": category.name,
        "top_3_coins_images": row["top_3_coins"],
        "market_cap_1h_change": 0.0,
        "slug": category.id,
        "coins_count": str(len(_members(market, category.id))),
        "data": {
            "market_cap": row["market_cap"],
            "market_cap_btc": row["market_cap"] * bitcoin,
            "total_volume": row["volume_24h"],
            "total_volume_btc": row["volume_24h"] * bitcoin,
            "market_cap_change_percentage_24h": {"usd": row["market_cap_change_24h"]},
            "sparkline": f"https://www.coingecko.com/categories/{number}/sparkline.svg",
        },
    }


def _trending_item(market: Market, coin_id: str, place: int) -> dict[str, Any]:
    coin, number = market.names[coin_id], hash_of(coin_id)
    usd, btc = spot_of(market, coin_id, "usd"), spot_of(market, coin_id, "btc")
    return {
        "id": coin_id,
        "coin_id": number,
        "name": coin.name,
        "symbol": coin.symbol.upper(),
        "market_cap_rank": rank(market, coin_id),
        "thumb": image_url(coin_id, "standard"),
        "small": image_url(coin_id, "small"),
        "large": image_url(coin_id, "large"),
        "slug": coin_id,
        "price_btc": btc.price,
        "score": place,
        "data": {
            "price": usd.price,
            "price_btc": f"{btc.price:.20f}",
            "price_change_percentage_24h": {"usd": usd.change_24h_percent() or 0.0},
            "market_cap": f"${usd.market_cap or 0:,.0f}",
            "market_cap_btc": str(btc.market_cap or 0.0),
            "total_volume": f"${usd.volume_24h:,.0f}",
            "total_volume_btc": str(btc.volume_24h),
            "sparkline": f"https://www.coingecko.com/coins/{number}/sparkline.svg",
            "content": None,
        },
    }
