"""CoinGecko's paths that are passed through, the parameters each has, and their canonical form. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from coincast_chassis.errors import InvalidInput, NotFound
from coincast_market_data.identifiers import canonical_id

LONGEST_VALUE = 4000
# Lists in which neither order nor case nor duplicates make a difference, and those that differ by case.
LISTS = ("ids", "vs_currencies", "vs_currency")
LISTS_WITH_CASE = ("names", "symbols", "price_change_percentage")
COIN = r"coins/(?P<id>[^/]+)"
SUBJECTS = "ids names symbols include_tokens"


@dataclass(frozen=True, slots=True)
class Route:
    """A path that is passed through: its breaker group, which cache window it has, and its parameters.

    CoinGecko passes over every other parameter; here it is dropped, as it would make a question of its own
    out of one that is answered already.
    """

    pattern: re.Pattern[str]
    group: str
    cache: str
    known: frozenset[str]


def _route(pattern: str, group: str, cache: str, known: str = "") -> Route:
    return Route(re.compile(pattern), group, cache, frozenset(known.split()))


ROUTES = (
    _route("ping", "other", "document"),
    _route(
        "simple/price",
        "prices",
        "document",
        f"{SUBJECTS} vs_currencies include_market_cap include_24hr_vol include_24hr_change"
        " include_last_updated_at precision",
    ),
    _route("simple/supported_vs_currencies", "lists", "list"),
    _route("coins/list", "lists", "list", "include_platform status"),
    _route(
        "coins/markets",
        "markets",
        "document",
        f"{SUBJECTS} vs_currency category order per_page page sparkline price_change_percentage locale"
        " precision",
    ),
    _route(f"{COIN}/market_chart", "series", "series", "vs_currency days interval precision"),
    _route(f"{COIN}/market_chart/range", "series", "series", "vs_currency from to interval precision"),
    _route(f"{COIN}/ohlc", "series", "series", "vs_currency days interval precision"),
    _route(f"{COIN}/history", "series", "series", "date localization"),
    _route("search", "lists", "list", "query"),
    _route(
        COIN,
        "coin",
        "document",
        "localization tickers market_data community_data developer_data sparkline dex_pair_format"
        " include_categories_details",
    ),
)


def find_route(path: str) -> tuple[Route, str]:
    """(route, canonical path). Raises NotFound for a path that is not mirrored, InvalidInput for a bad
    coin id.
    """
    path = path.strip("/")
    for route in ROUTES:
        found = route.pattern.fullmatch(path)
        if found is None:
            continue
        if "id" in found.groupdict():
            coin = canonical_id(found["id"])
            path = f"coins/{coin}{path[len('coins/') + len(found['id']) :]}"
        return route, path
    raise NotFound(f"the path {path[:100]!r} is not mirrored", field="path")


def canonical_query(route: Route, query: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The parameters that the path has, sorted, lists in canonical order. Raises InvalidInput for a value
    that cannot be one.
    """
    parameters = []
    for name, given in sorted(query.items()):
        if name not in route.known:
            continue
        if len(given) > LONGEST_VALUE or any(ord(char) < 32 for char in given):
            raise InvalidInput(f"the value of {name} is too long or holds control characters", field=name)
        parameters.append((name, _canonical(name, given)))
    return tuple(parameters)


def _canonical(name: str, given: str) -> str:
    if name in LISTS:
        given = given.lower()
    elif name not in LISTS_WITH_CASE:
        return given
    return ",".join(sorted({part.strip() for part in given.split(",") if part.strip()}))
