"""Splits a batch of prices into upstream calls. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from coincast_market_data.coingecko.parser import Pair

FIXED_QUERY = (
    ("include_market_cap", "true"),
    ("include_24hr_vol", "true"),
    ("include_24hr_change", "true"),
    ("include_last_updated_at", "true"),
    ("precision", "full"),
)
FEW_CALLS = 4
FIXED_BYTES = sum(len(key) + len(value) + 2 for key, value in FIXED_QUERY) + len("ids=&vs_currencies=")


@dataclass(frozen=True, slots=True)
class Chunk:
    """The ids and currencies of one upstream call, both sorted."""

    ids: tuple[str, ...]
    currencies: tuple[str, ...]

    def pairs(self) -> list[Pair]:
        """Return all pairs that the call fetches."""
        return [(coin, currency) for coin in self.ids for currency in self.currencies]

    def query(self) -> tuple[tuple[str, str], ...]:
        """Return the call's parameters."""
        return (("ids", ",".join(self.ids)), ("vs_currencies", ",".join(self.currencies)), *FIXED_QUERY)

    def halves(self) -> list[Chunk]:
        """Split into two smaller chunks; return none where the chunk cannot be split.

        The split is by ids where there are several, otherwise by currencies.
        """
        if len(self.ids) > 1:
            middle = len(self.ids) // 2
            return [Chunk(self.ids[:middle], self.currencies), Chunk(self.ids[middle:], self.currencies)]
        if len(self.currencies) > 1:
            middle = len(self.currencies) // 2
            return [Chunk(self.ids, self.currencies[:middle]), Chunk(self.ids, self.currencies[middle:])]
        return []


def most_calls(chunk: Chunk) -> int:
    """Return how many upstream calls a refused chunk may cost.

    That is enough to find one bad pair by halving, and a few more.
    """
    return 1 + 2 * (len(chunk.pairs()) - 1).bit_length() + FEW_CALLS


def plan_chunks(pairs: Iterable[Pair], *, max_ids: int, max_query_bytes: int) -> list[Chunk]:
    """Plan chunks over the union of ids and currencies that cover every pair, each within both bounds.

    A single id may exceed the bytes on its own; it is still sent, alone.

    Args:
        pairs: The pairs to cover.
        max_ids: Maximum ids per call.
        max_query_bytes: Maximum length of the ids in the address.
    """
    wanted = set(pairs)
    currencies = tuple(sorted({currency for _, currency in wanted}))
    room = max_query_bytes - FIXED_BYTES - _width(currencies)
    ids = sorted({coin for coin, _ in wanted})
    return [Chunk(part, currencies) for part in split_by_width(ids, room, max_ids)]


def split_by_width(ids: Sequence[str], room: int, most: int) -> list[tuple[str, ...]]:
    """Split the ids, in order, into parts of at most `most` that fit into `room` bytes of an address."""
    parts: list[tuple[str, ...]] = []
    part: list[str] = []
    used = 0
    for coin in ids:
        width = _width((coin,))
        if part and (len(part) >= most or used + width > room):
            parts.append(tuple(part))
            part, used = [], 0
        part.append(coin)
        used += width
    return [*parts, tuple(part)] if part else parts


def _width(names: Sequence[str]) -> int:
    # A comma becomes %2C in the address.
    return sum(len(quote(name, safe="")) + 3 for name in names)
