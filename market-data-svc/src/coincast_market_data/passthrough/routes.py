"""CoinGecko's paths that are passed through, with their parameters and canonical form; pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from coincast_chassis.errors import InvalidInput, NotFound
from coincast_market_data.identifiers import canonical_id

LONGEST_VALUE = 4000
# Parameters with comma-separated lists: order and duplicates make no difference, and in the first group
# neither does case.
LISTS = ("ids", "vs_currencies", "vs_currency")
LISTS_WITH_CASE = ("names", "symbols", "price_change_percentage", "contract_addresses", "exchange_ids")
COIN = r"coins/(?P<id>[^/]+)"
CONTRACT = r"coins/(?P<platform>[a-z0-9-]{1,64})/contract/(?P<address>[A-Za-z0-9:_.\-]{1,128})"
SUBJECTS = "ids names symbols include_tokens"
FIGURES = "include_market_cap include_24hr_vol include_24hr_change include_last_updated_at precision"
CHART = "vs_currency days interval precision"
CHART_RANGE = "vs_currency from to interval precision"
COIN_PARTS = (
    "localization tickers market_data community_data developer_data sparkline dex_pair_format"
    " include_categories_details"
)


@dataclass(frozen=True, slots=True)
class Route:
    """A path that is passed through.

    CoinGecko ignores unknown parameters. They are dropped here, since each would create another cache entry
    for the same document.

    Args:
        pattern: The path, without slashes at its ends.
        group: The group of its circuit breaker.
        cache: The kind of its cache, which sets how long a document is fresh.
        known: The parameters that affect the document.
        credits: The credits that a call costs at CoinGecko.
        chart_of_coin: Whether the document is a chart of the coin `id`, which the archive can store.
    """

    pattern: re.Pattern[str]
    group: str
    cache: str
    known: frozenset[str]
    credits: int = 1
    chart_of_coin: bool = False


def _route(pattern: str, group: str, cache: str, known: str = "", *, chart_of_coin: bool = False) -> Route:
    return Route(re.compile(pattern), group, cache, frozenset(known.split()), chart_of_coin=chart_of_coin)


# Fixed paths come before patterns that would match them as well.
ROUTES = (
    _route("ping", "other", "document"),
    _route("key", "other", "document"),
    _route("simple/price", "prices", "document", f"{SUBJECTS} vs_currencies {FIGURES}"),
    _route(
        r"simple/token_price/(?P<platform>[a-z0-9-]{1,64})",
        "prices",
        "document",
        f"contract_addresses vs_currencies {FIGURES}",
    ),
    _route("simple/supported_vs_currencies", "lists", "list"),
    _route("coins/list", "lists", "list", "include_platform status"),
    _route(
        "coins/markets",
        "markets",
        "document",
        f"{SUBJECTS} vs_currency category order per_page page sparkline price_change_percentage locale"
        " precision include_rehypothecated",
    ),
    _route("coins/categories", "lists", "document", "order"),
    _route("coins/categories/list", "lists", "list"),
    _route(f"{CONTRACT}/market_chart", "series", "series", CHART),
    _route(f"{CONTRACT}/market_chart/range", "series", "series", CHART_RANGE),
    _route(CONTRACT, "coin", "document"),
    _route(f"{COIN}/market_chart", "series", "series", CHART, chart_of_coin=True),
    _route(f"{COIN}/market_chart/range", "series", "series", CHART_RANGE, chart_of_coin=True),
    _route(f"{COIN}/ohlc", "series", "series", CHART, chart_of_coin=True),
    _route(f"{COIN}/history", "series", "series", "date localization"),
    _route(
        f"{COIN}/tickers",
        "coin",
        "document",
        "exchange_ids include_exchange_logo page order depth dex_pair_format",
    ),
    _route(COIN, "coin", "document", COIN_PARTS),
    _route("asset_platforms", "lists", "list", "filter"),
    _route("exchanges", "lists", "document", "per_page page"),
    _route("exchanges/list", "lists", "list", "status"),
    _route("exchange_rates", "other", "document"),
    _route("search", "lists", "list", "query"),
    _route("search/trending", "lists", "document", "show_max"),
    _route("global", "other", "document"),
    _route("global/decentralized_finance_defi", "other", "document"),
)
# Segments after `coins/` that are not coins; their paths are not passed through.
NOT_COINS = frozenset({"top_gainers_losers"})


def find_route(path: str) -> tuple[Route, str]:
    """Return the route of a path, and the path with a canonical coin id.

    Raises:
        NotFound: The path is not mirrored.
        InvalidInput: The coin id is malformed.
    """
    path = path.strip("/")
    for route in ROUTES:
        found = route.pattern.fullmatch(path)
        if found is None:
            continue
        if found.groupdict().get("id") in NOT_COINS:
            break
        if "id" in found.groupdict():
            coin = canonical_id(found["id"])
            path = f"coins/{coin}{path[len('coins/') + len(found['id']) :]}"
        return route, path
    raise NotFound(f"the path {path[:100]!r} is not mirrored", field="path")


def canonical_query(route: Route, query: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the known parameters of a query, sorted, with lists in canonical order.

    Raises:
        InvalidInput: A value is too long or has control characters.
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
