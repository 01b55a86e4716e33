"""Which of CoinGecko's paths are mirrored, and what each cannot do without."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from coincast_gateway.coingecko_compat.errors import CompatError, missing, not_mirrored, refused

PREFIX = "/api/v3"
# Clients send their CoinGecko key so; it may be a Coincast key here, and goes no further.
KEY_PARAMETERS = frozenset({"x_cg_demo_api_key", "x_cg_pro_api_key"})
SEGMENT = r"[A-Za-z0-9._\-]{1,128}"
MAX_IDS = 250


@dataclass(frozen=True, slots=True)
class CompatRoute:
    """One path: its template, its pattern, the parameters it needs (any one of a group is enough), and those
    it knows beside them. CoinGecko passes over all others, and so does the mirror: one reply serves both.
    """

    template: str
    needs: tuple[tuple[str, ...], ...] = ()
    options: str = ""

    @property
    def known(self) -> frozenset[str]:
        """Every parameter that makes a difference."""
        return frozenset(self.options.split()).union(*self.needs)

    @property
    def pattern(self) -> re.Pattern[str]:
        """What a path must look like, without slashes at the ends."""
        return re.compile(self.template.replace("{id}", SEGMENT))


_SUBJECT = ("ids", "names", "symbols")
COMPAT_ROUTES = (
    CompatRoute("ping"),
    CompatRoute(
        "simple/price",
        (("vs_currencies",), _SUBJECT),
        "include_tokens include_market_cap include_24hr_vol include_24hr_change include_last_updated_at"
        " precision",
    ),
    CompatRoute("simple/supported_vs_currencies"),
    CompatRoute("coins/list", (), "include_platform status"),
    CompatRoute(
        "coins/markets",
        (("vs_currency",),),
        "ids names symbols include_tokens category order per_page page sparkline price_change_percentage"
        " locale precision",
    ),
    CompatRoute(
        "coins/{id}",
        (),
        "localization tickers market_data community_data developer_data sparkline dex_pair_format"
        " include_categories_details",
    ),
    CompatRoute("coins/{id}/market_chart", (("vs_currency",), ("days",)), "interval precision"),
    CompatRoute(
        "coins/{id}/market_chart/range", (("vs_currency",), ("from",), ("to",)), "interval precision"
    ),
    CompatRoute("coins/{id}/ohlc", (("vs_currency",), ("days",)), "interval precision"),
    CompatRoute("coins/{id}/history", (("date",),), "localization"),
    CompatRoute("search", (), "query"),
)
_COMPILED = tuple((mirrored.pattern, mirrored) for mirrored in COMPAT_ROUTES)


def find(path: str) -> tuple[CompatRoute, str]:
    """(what is mirrored, the path below the prefix). Raises MirrorError for what is not."""
    inner = path.removeprefix(PREFIX).strip("/")
    for pattern, mirrored in _COMPILED:
        if pattern.fullmatch(inner):
            return mirrored, inner
    if re.fullmatch(r"coins/[^/]+(/(market_chart(/range)?|ohlc|history))?", inner):
        raise CompatError(404, "plain", "coin not found")
    raise not_mirrored(path)


def query_of(mirrored: CompatRoute, query_string: bytes) -> dict[str, str]:
    """The parameters that the path knows, so never a key; of one that is given twice the last counts, as at
    CoinGecko.
    """
    try:
        pairs = parse_qsl(
            query_string.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=50
        )
    except ValueError:
        raise refused("invalid query string") from None
    known = mirrored.known
    return {name: value for name, value in pairs if name in known}


def check(mirrored: CompatRoute, query: Mapping[str, str]) -> None:
    """Refuse here what the upstream would refuse, and save the call."""
    for group in mirrored.needs:
        if not any(query.get(name, "").strip() for name in group):
            raise missing(group[0])
    for name in _SUBJECT:
        if query.get(name, "").count(",") >= MAX_IDS:
            raise refused(f"Too many {name}: at most {MAX_IDS}")
