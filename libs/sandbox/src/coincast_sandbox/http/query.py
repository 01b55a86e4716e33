"""Parse request parameters, with CoinGecko's errors for missing or wrong ones."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from coincast_sandbox.http.errors import ApiError, not_found
from coincast_sandbox.simulation.candles import day_number
from coincast_sandbox.simulation.market import Market

MAX_IDS = 250


def required(query: Mapping[str, str], name: str) -> str:
    """Return a parameter that must be present.

    Raises:
        ApiError: The parameter is missing.
    """
    value = query.get(name, "").strip()
    if not value:
        raise ApiError(422, 4, f"Missing parameter {name}")
    return value


def split_list(text: str) -> list[str]:
    """Split a comma-separated list into lower-case items in order, without blanks and repetitions."""
    return list(dict.fromkeys(w.strip().lower() for w in text.split(",") if w.strip()))


def flag(query: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    """Return whether a parameter is `true`; the default if it is absent."""
    value = query.get(name, "").lower()
    return value == "true" if value else default


def precision(query: Mapping[str, str]) -> str | None:
    """Return the parameter `precision`: `full`, `0`..`18` or None.

    Raises:
        ApiError: The precision is not valid.
    """
    value = query.get("precision")
    if value is not None and value != "full" and not (value.isdecimal() and int(value) <= 18):
        raise ApiError(422, 4, "Invalid precision")
    return value


def currency(query: Mapping[str, str], market: Market) -> str:
    """Return the parameter `vs_currency` in lower case.

    Raises:
        ApiError: The currency is unknown.
    """
    code = required(query, "vs_currency").lower()
    if code not in market.currencies():
        raise ApiError(422, 4, "invalid vs_currency")
    return code


def known_coin(market: Market, coin_id: str) -> str:
    """Return a coin id after checking that the market has the coin.

    Raises:
        ApiError: 404 for any other id.
    """
    if coin_id not in market.series:
        raise not_found()
    return coin_id


def keyed_coins(query: Mapping[str, str], market: Market) -> dict[str, str] | None:
    """Return reply key -> coin id for `ids`, `names` or `symbols`; None if none of them is given.

    CoinGecko's reply has symbols as keys for a request by `symbols`, and names for one by `names`. If several
    coins have the same symbol or name, the largest is returned.

    Raises:
        ApiError: There are too many ids.
    """
    coins = market.names.values()
    if query.get("ids"):
        found = {i: i for i in split_list(query["ids"])}
    elif query.get("names"):
        wanted = split_list(query["names"])
        by_name = {c.name.lower(): c for c in reversed(list(coins))}
        found = {by_name[n].name: by_name[n].id for n in wanted if n in by_name}
    elif query.get("symbols"):
        wanted = split_list(query["symbols"])
        by_symbol = {c.symbol: c.id for c in reversed(list(coins))}
        found = {s: by_symbol[s] for s in wanted if s in by_symbol}
    else:
        return None
    if len(found) > MAX_IDS:
        raise ApiError(400, 4, f"Too many ids: at most {MAX_IDS}")
    return found


def whole(query: Mapping[str, str], name: str, *, default: int, least: int, most: int) -> int:
    """Return an integer parameter, clamped to its bounds as CoinGecko does."""
    text = query.get(name, "")
    return min(max(int(text), least), most) if text.isdecimal() else default


def number_of_days(query: Mapping[str, str]) -> float:
    """Return `days` as a number; `max` is infinite.

    Raises:
        ApiError: The value is not a number of days.
    """
    text = required(query, "days")
    if text == "max":
        return float("inf")
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not 0 < days < 1e6:
        raise ApiError(422, 4, "Invalid days value")
    return days


def unix_seconds(query: Mapping[str, str], name: str) -> float:
    """Return `from` or `to` in UNIX seconds, given in seconds, in milliseconds or as an ISO date."""
    text = required(query, name)
    try:
        value = float(text)
    except ValueError:
        return _from_iso(text)
    return value / 1000 if value > 1e11 else value


def history_day(query: Mapping[str, str]) -> int:
    """Return `date` (dd-mm-yyyy) as days from 1970-01-01.

    Raises:
        ApiError: The date is not valid.
    """
    try:
        return day_number(datetime.strptime(required(query, "date"), "%d-%m-%Y").replace(tzinfo=UTC).date())
    except ValueError as error:
        raise ApiError(400, 4, "invalid date") from error


def _from_iso(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ApiError(400, 4, "invalid date range") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
