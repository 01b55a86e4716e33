"""The mirrored paths of CoinGecko and the parameters of each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from coincast_gateway.coingecko_compat.errors import (
    CompatError,
    invalid_value,
    missing_parameter,
    not_mirrored,
)

PREFIX = "/api/v3"
# CoinGecko's parameters for an API key. A client may send a Coincast key in them; it is never forwarded.
KEY_PARAMETERS = frozenset({"x_cg_demo_api_key", "x_cg_pro_api_key"})
# Some of CoinGecko's ids have spaces, brackets or a leading hyphen: `1move token`, `boringdao-[old]`, `-10`.
SEGMENT = r"[A-Za-z0-9._\-: \[\]()]{1,128}"
MAX_IDS = 250
# Every response of CoinGecko has these headers, which clients on a page of another origin need.
CORS_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"link, per-page, total"),
)
PREFLIGHT_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    *CORS_HEADERS,
    (b"access-control-allow-methods", b"GET, HEAD, OPTIONS"),
    (
        b"access-control-allow-headers",
        b"Origin, X-Requested-With, Content-Type, Accept, Authorization, X-Api-Key, x-cg-demo-api-key,"
        b" x-cg-pro-api-key",
    ),
    (b"access-control-max-age", b"3600"),
)


@dataclass(frozen=True, slots=True)
class CompatRoute:
    """A mirrored path.

    Like CoinGecko, the mirror ignores unknown parameters, so they do not multiply the cached responses.

    Args:
        template: The path below the prefix; `{id}` and the like match one segment.
        needs: Groups of parameters, of each of which a request needs at least one. Missing ones are reported
            in this order, as by CoinGecko.
        options: Further parameters that affect the response, separated by spaces.
    """

    template: str
    needs: tuple[tuple[str, ...], ...] = ()
    options: str = ""

    @property
    def known(self) -> frozenset[str]:
        """All parameters that affect the response."""
        return frozenset(self.options.split()).union(*self.needs)

    @property
    def pattern(self) -> re.Pattern[str]:
        """The pattern of the path below the prefix, without slashes at its ends."""
        return re.compile(re.sub(r"\{[a-z]+\}", lambda _: SEGMENT, self.template))


_SUBJECT = ("ids", "names", "symbols")
_CURRENCY, _DAYS = ("vs_currency",), ("days",)
_FIGURES = "include_market_cap include_24hr_vol include_24hr_change include_last_updated_at precision"
_CONTRACT = "coins/{platform}/contract/{address}"
# Fixed paths come before templates that would match them as well.
COMPAT_ROUTES = (
    CompatRoute("ping"),
    CompatRoute("key"),
    CompatRoute("simple/price", (_SUBJECT, ("vs_currencies",)), f"include_tokens {_FIGURES}"),
    CompatRoute("simple/token_price/{platform}", (("contract_addresses",), ("vs_currencies",)), _FIGURES),
    CompatRoute("simple/supported_vs_currencies"),
    CompatRoute("coins/list", (), "include_platform status"),
    CompatRoute(
        "coins/markets",
        (_CURRENCY,),
        "ids names symbols include_tokens category order per_page page sparkline price_change_percentage"
        " locale precision include_rehypothecated",
    ),
    CompatRoute("coins/categories", (), "order"),
    CompatRoute("coins/categories/list"),
    CompatRoute(f"{_CONTRACT}/market_chart", (_CURRENCY, _DAYS), "interval precision"),
    CompatRoute(f"{_CONTRACT}/market_chart/range", (_CURRENCY, ("from",), ("to",)), "interval precision"),
    CompatRoute(_CONTRACT),
    CompatRoute(
        "coins/{id}",
        (),
        "localization tickers market_data community_data developer_data sparkline dex_pair_format"
        " include_categories_details",
    ),
    CompatRoute("coins/{id}/market_chart", (_CURRENCY, _DAYS), "interval precision"),
    CompatRoute("coins/{id}/market_chart/range", (_CURRENCY, ("from",), ("to",)), "interval precision"),
    CompatRoute("coins/{id}/ohlc", (_CURRENCY, _DAYS), "interval precision"),
    CompatRoute("coins/{id}/history", (("date",),), "localization"),
    CompatRoute(
        "coins/{id}/tickers",
        (),
        "exchange_ids include_exchange_logo page order depth dex_pair_format",
    ),
    CompatRoute("asset_platforms", (), "filter"),
    CompatRoute("exchanges", (), "per_page page"),
    CompatRoute("exchanges/list", (), "status"),
    CompatRoute("exchange_rates"),
    CompatRoute("search", (), "query"),
    CompatRoute("search/trending", (), "show_max"),
    CompatRoute("global"),
    CompatRoute("global/decentralized_finance_defi"),
)
_COMPILED = tuple((route.pattern, route) for route in COMPAT_ROUTES)
# Paths of CoinGecko below `coins/` that are not coins; they are not mirrored.
_NOT_COINS = frozenset({"coins/top_gainers_losers", "coins/list/new"})
_COIN_PATH = re.compile(r"coins/[^/]+(/(market_chart(/range)?|ohlc|history|tickers))?")


def match_route(path: str) -> tuple[CompatRoute, str]:
    """Return the route of a path, and the part of the path below the prefix.

    Raises:
        CompatError: 404 for a path that is not mirrored, or whose coin id is malformed.
    """
    inner = path.removeprefix(PREFIX).strip("/")
    if inner not in _NOT_COINS:
        for pattern, route in _COMPILED:
            if pattern.fullmatch(inner):
                return route, inner
        if _COIN_PATH.fullmatch(inner):
            raise CompatError(404, "plain", "coin not found")
    raise not_mirrored(path)


def parse_query(route: CompatRoute, query_string: bytes) -> dict[str, str]:
    """Return the parameters that the route knows, which never include an API key.

    Of a repeated parameter the last value is used.

    Raises:
        CompatError: 422 for a query string that cannot be parsed.
    """
    try:
        pairs = parse_qsl(
            query_string.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=50
        )
    except ValueError:
        raise invalid_value("invalid query string") from None
    known = route.known
    return {name: value for name, value in pairs if name in known}


def validate_query(route: CompatRoute, query: Mapping[str, str]) -> None:
    """Reject a query that CoinGecko would reject, to save the call.

    Raises:
        CompatError: 422 for a missing parameter or too many ids, names or symbols.
    """
    for group in route.needs:
        if not any(query.get(name, "").strip() for name in group):
            raise missing_parameter(group[0])
    for name in _SUBJECT:
        if query.get(name, "").count(",") >= MAX_IDS:
            raise invalid_value(f"Too many {name}: at most {MAX_IDS}")
