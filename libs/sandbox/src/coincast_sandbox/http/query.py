"""Reading of request parameters, with CoinGecko's complaints where one is missing or wrong."""

from collections.abc import Mapping
from datetime import UTC, datetime

from coincast_sandbox.http.errors import RefusalError, not_found
from coincast_sandbox.simulation.candles import day_number
from coincast_sandbox.simulation.market import Market

MOST_IDS = 250


def required(query: Mapping[str, str], name: str) -> str:
    """A parameter that must be there."""
    value = query.get(name, "").strip()
    if not value:
        raise RefusalError(422, 4, f"Missing parameter {name}")
    return value


def words(text: str) -> list[str]:
    """A comma-separated list in lower case, without blanks and repetitions, in order."""
    return list(dict.fromkeys(w.strip().lower() for w in text.split(",") if w.strip()))


def flag(query: Mapping[str, str], name: str) -> bool:
    """`true` or not."""
    return query.get(name, "").lower() == "true"


def precision(query: Mapping[str, str]) -> str | None:
    """`full`, `0`..`18` or None."""
    value = query.get("precision")
    if value is not None and value != "full" and not (value.isdecimal() and int(value) <= 18):
        raise RefusalError(422, 4, "Invalid precision")
    return value


def currency(query: Mapping[str, str], market: Market) -> str:
    """The one currency of a series or a table."""
    code = required(query, "vs_currency").lower()
    if code not in market.currencies():
        raise RefusalError(422, 4, "invalid vs_currency")
    return code


def known_coin(market: Market, coin_id: str) -> str:
    """The id, where there is such a coin."""
    if coin_id not in market.series:
        raise not_found()
    return coin_id


def coin_ids(query: Mapping[str, str], market: Market) -> list[str] | None:
    """Ids asked for by `ids`, `names` or `symbols`; None where none of them is given."""
    if query.get("ids"):
        found = words(query["ids"])
    elif query.get("names"):
        wanted = set(words(query["names"]))
        found = [c.id for c in market.names.values() if c.name.lower() in wanted]
    elif query.get("symbols"):
        wanted = set(words(query["symbols"]))
        found = [c.id for c in market.names.values() if c.symbol in wanted]
    else:
        return None
    if len(found) > MOST_IDS:
        raise RefusalError(400, 4, f"Too many ids: at most {MOST_IDS}")
    return found


def whole(query: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    """A whole number, held within bounds as CoinGecko holds it."""
    text = query.get(name, "")
    return min(max(int(text), least), most) if text.isdecimal() else default


def number_of_days(query: Mapping[str, str]) -> float:
    """`days` as a number; `max` is infinite."""
    text = required(query, "days")
    if text == "max":
        return float("inf")
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not 0 < days < 1e6:
        raise RefusalError(422, 4, "Invalid days value")
    return days


def unix_seconds(query: Mapping[str, str], name: str) -> float:
    """`from` or `to`: UNIX seconds (milliseconds are understood), or an ISO date."""
    text = required(query, name)
    try:
        value = float(text)
    except ValueError:
        return _from_iso(text)
    return value / 1000 if value > 1e11 else value


def history_day(query: Mapping[str, str]) -> int:
    """`date` as dd-mm-yyyy, as days from 1970-01-01."""
    try:
        return day_number(datetime.strptime(required(query, "date"), "%d-%m-%Y").replace(tzinfo=UTC).date())
    except ValueError as error:
        raise RefusalError(400, 4, "invalid date") from error


def _from_iso(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise RefusalError(400, 4, "invalid date range") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
