"""Jumps that nothing confirms are put aside."""

from __future__ import annotations

from collections import OrderedDict

from coincast_market_data.parse import Pair

JUMP_FACTOR = 10.0
# A price from longer ago says little about what is plausible now.
MEMORY_SECONDS = 6 * 3600.0
AGREEMENT_FACTOR = 2.0
CONFIRMED_AFTER_SECONDS = 120.0


class JumpGuard:
    """A figure tenfold off the last good one is put aside until fetches keep saying the same for two
    minutes.
    """

    def __init__(self, *, max_entries: int = 50_000) -> None:
        self._last: OrderedDict[Pair, tuple[float, float]] = OrderedDict()
        self._suspect: dict[Pair, tuple[float, float]] = {}
        self._max_entries = max_entries

    def plausible(self, pair: Pair, price: float, now: float) -> bool:
        """Whether a price may be served; remembers it either way. `now`: UNIX seconds."""
        before, seen = self._last.get(pair, (price, now))
        suspect, since = self._suspect.pop(pair, (price, now))
        jumped = now - seen < MEMORY_SECONDS and _ratio(price, before) >= JUMP_FACTOR
        if jumped and _ratio(price, suspect) > AGREEMENT_FACTOR:
            suspect, since = price, now
        if jumped and now - since < CONFIRMED_AFTER_SECONDS:
            self._suspect[pair] = (suspect, since)
            return False
        self._last[pair] = (price, now)
        self._last.move_to_end(pair)
        if len(self._last) > self._max_entries:
            dropped, _ = self._last.popitem(last=False)
            self._suspect.pop(dropped, None)
        return True


def _ratio(a: float, b: float) -> float:
    return max(a / b, b / a)
