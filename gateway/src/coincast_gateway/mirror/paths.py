"""Which of CoinGecko's paths are mirrored, and what each cannot do without."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from coincast_gateway.mirror.errors import MirrorError, missing, not_mirrored, refused

PREFIX = "/api/v3"
# Clients send their CoinGecko key so; it may be a Coincast key here, and goes no further.
KEY_PARAMETERS = frozenset({"x_cg_demo_api_key", "x_cg_pro_api_key"})
SEGMENT = r"[A-Za-z0-9._\-]{1,128}"
MAX_IDS = 250


@dataclass(frozen=True, slots=True)
class Mirrored:
    """One path: its template, its pattern, the parameters it needs (any one of a group is enough)."""

    template: str
    needs: tuple[tuple[str, ...], ...] = ()

    @property
    def pattern(self) -> re.Pattern[str]:
        """What a path must look like, without slashes at the ends."""
        return re.compile(self.template.replace("{id}", SEGMENT))


_SUBJECT = ("ids", "names", "symbols")
MIRRORED = (
    Mirrored("ping"),
    Mirrored("simple/price", (("vs_currencies",), _SUBJECT)),
    Mirrored("simple/supported_vs_currencies"),
    Mirrored("coins/list"),
    Mirrored("coins/markets", (("vs_currency",),)),
    Mirrored("coins/{id}"),
    Mirrored("coins/{id}/market_chart", (("vs_currency",), ("days",))),
    Mirrored("coins/{id}/market_chart/range", (("vs_currency",), ("from",), ("to",))),
    Mirrored("coins/{id}/ohlc", (("vs_currency",), ("days",))),
    Mirrored("coins/{id}/history", (("date",),)),
    Mirrored("search"),
)
_COMPILED = tuple((mirrored.pattern, mirrored) for mirrored in MIRRORED)


def find(path: str) -> tuple[Mirrored, str]:
    """(what is mirrored, the path below the prefix). Raises MirrorError for what is not."""
    inner = path.removeprefix(PREFIX).strip("/")
    for pattern, mirrored in _COMPILED:
        if pattern.fullmatch(inner):
            return mirrored, inner
    if re.fullmatch(r"coins/[^/]+(/(market_chart(/range)?|ohlc|history))?", inner):
        raise MirrorError(404, "plain", "coin not found")
    raise not_mirrored(path)


def query_of(query_string: bytes) -> dict[str, str]:
    """The parameters without keys; of one that is given twice the last counts, as at CoinGecko."""
    try:
        pairs = parse_qsl(
            query_string.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=50
        )
    except ValueError:
        raise refused("invalid query string") from None
    return {name: value for name, value in pairs if name not in KEY_PARAMETERS}


def check(mirrored: Mirrored, query: Mapping[str, str]) -> None:
    """Refuse here what the upstream would refuse, and save the call."""
    for group in mirrored.needs:
        if not any(query.get(name, "").strip() for name in group):
            raise missing(group[0])
    for name in _SUBJECT:
        if query.get(name, "").count(",") >= MAX_IDS:
            raise refused(f"Too many {name}: at most {MAX_IDS}")
