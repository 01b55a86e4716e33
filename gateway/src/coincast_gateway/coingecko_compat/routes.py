"""The mirrored paths of CoinGecko and the parameters of each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from coincast_gateway.coingecko_compat.errors import CompatError, missing, not_mirrored, refused

PREFIX = "/api/v3"
# Clients send their CoinGecko key in these; it may be a Coincast key here, and is not forwarded.
KEY_PARAMETERS = frozenset({"x_cg_demo_api_key", "x_cg_pro_api_key"})
# CoinGecko's ids hold spaces, brackets and leading hyphens at times: `1move token`, `boringdao-[old]`, `-10`.
SEGMENT = r"[A-Za-z0-9._\-: \[\]()]{1,128}"
MAX_IDS = 250


# Clients that fetch from a page of another origin need these; every reply of CoinGecko's carries them.
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

    CoinGecko ignores parameters that a path does not have, and so does the mirror: one reply serves all.

    Args:
        template: The path below the prefix; `{id}` and the like stand for one segment.
        needs: Groups of parameters: a request needs one of each group. Their order is that in which
            CoinGecko reports missing ones.
        options: Further parameters that change the reply, separated by spaces.
    """

    template: str
    needs: tuple[tuple[str, ...], ...] = ()
    options: str = ""

    @property
    def known(self) -> frozenset[str]:
        """Every parameter that affects the reply."""
        return frozenset(self.options.split()).union(*self.needs)

    @property
    def pattern(self) -> re.Pattern[str]:
        """What a path must look like, without slashes at the ends."""
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


def find(path: str) -> tuple[CompatRoute, str]:
    """Return the route of a path, and the path below the prefix.

    Raises:
        CompatError: 404 for a path that is not mirrored, or that names no possible coin.
    """
    inner = path.removeprefix(PREFIX).strip("/")
    if inner not in _NOT_COINS:
        for pattern, route in _COMPILED:
            if pattern.fullmatch(inner):
                return route, inner
        if _COIN_PATH.fullmatch(inner):
            raise CompatError(404, "plain", "coin not found")
    raise not_mirrored(path)


def query_of(route: CompatRoute, query_string: bytes) -> dict[str, str]:
    """Return the parameters that the route has, so never a key; of repeated ones the last counts.

    Raises:
        CompatError: 422 for a query string that cannot be parsed.
    """
    try:
        pairs = parse_qsl(
            query_string.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=50
        )
    except ValueError:
        raise refused("invalid query string") from None
    known = route.known
    return {name: value for name, value in pairs if name in known}


def check(route: CompatRoute, query: Mapping[str, str]) -> None:
    """Refuse what CoinGecko would refuse, to save the call.

    Raises:
        CompatError: 422 for a missing parameter or too many subjects.
    """
    for group in route.needs:
        if not any(query.get(name, "").strip() for name in group):
            raise missing(group[0])
    for name in _SUBJECT:
        if query.get(name, "").count(",") >= MAX_IDS:
            raise refused(f"Too many {name}: at most {MAX_IDS}")
