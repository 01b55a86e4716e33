"""Replies of `simple/price` and `simple/token_price`: spot prices of many coins in many currencies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coincast_sandbox.replies.numbers import spot
from coincast_sandbox.replies.spot import spot_of
from coincast_sandbox.simulation.market import Market

FLAGS = ("include_market_cap", "include_24hr_vol", "include_24hr_change", "include_last_updated_at")


def simple_price(
    market: Market,
    coins: Mapping[str, str],
    currencies: list[str],
    flags: Mapping[str, bool],
    *,
    precision: str | None,
) -> dict[str, dict[str, Any]]:
    """Return `{"bitcoin": {"usd": ...}}`; unknown coins and currencies are absent.

    Args:
        market: The market.
        coins: Key of the reply -> coin id.
        currencies: Lower-case codes.
        flags: Which of `FLAGS` are set.
        precision: `full`, `0`..`18` or None.
    """
    known = [c for c in currencies if c in market.currencies()]
    return {key: _entry(market, i, known, flags, precision) for key, i in coins.items() if i in market.series}


def _entry(
    market: Market, coin_id: str, currencies: list[str], flags: Mapping[str, bool], precision: str | None
) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    updated_at = 0.0
    for currency in currencies:
        now = spot_of(market, coin_id, currency)
        updated_at = now.updated_at
        entry[currency] = spot(now.price, currency, precision)
        if flags.get("include_market_cap"):
            entry[f"{currency}_market_cap"] = now.market_cap or 0
        if flags.get("include_24hr_vol"):
            entry[f"{currency}_24h_vol"] = now.volume_24h
        if flags.get("include_24hr_change"):
            entry[f"{currency}_24h_change"] = now.change_24h_percent()
    if flags.get("include_last_updated_at") and entry:
        entry["last_updated_at"] = int(updated_at)
    return entry
