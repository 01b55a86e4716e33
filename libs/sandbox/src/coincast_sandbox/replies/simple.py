"""`simple/price`: spot prices of many coins in many currencies."""

from typing import Any

from coincast_sandbox.replies.numbers import spot
from coincast_sandbox.replies.spot import spot_of
from coincast_sandbox.simulation.market import Market


def simple_price(market: Market, coin_ids: list[str], currencies: list[str], flags: dict[str, bool],
                 precision: str | None) -> dict[str, dict[str, Any]]:  # fmt: skip
    """`{"bitcoin": {"usd": ...}}`; coins and currencies that are not known are absent."""
    known = [c for c in currencies if c in market.currencies()]
    return {i: _entry(market, i, known, flags, precision) for i in coin_ids if i in market.series}


def _entry(market: Market, coin_id: str, currencies: list[str], flags: dict[str, bool],
           precision: str | None) -> dict[str, Any]:  # fmt: skip
    entry: dict[str, Any] = {}
    updated_at = 0.0
    for currency in currencies:
        now = spot_of(market, coin_id, currency)
        updated_at = now.updated_at
        entry[currency] = spot(now.price, precision)
        if flags.get("include_market_cap"):
            entry[f"{currency}_market_cap"] = now.market_cap
        if flags.get("include_24hr_vol"):
            entry[f"{currency}_24h_vol"] = now.volume_24h
        if flags.get("include_24hr_change"):
            entry[f"{currency}_24h_change"] = now.change_24h_percent()
    if flags.get("include_last_updated_at") and entry:
        entry["last_updated_at"] = int(updated_at)
    return entry
