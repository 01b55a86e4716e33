"""Count requests by pair, so that popular prices are refreshed before they are stale."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from coincast_market_data.coingecko.parser import Pair

MAX_PAIRS = 5000
LEAST_TOUCHES = 2


class PairPopularity:
    """Counts requests between two refreshes; bounded."""

    def __init__(self) -> None:
        self._touches: Counter[Pair] = Counter()

    def touch(self, pairs: Iterable[Pair]) -> None:
        """Count one request for each pair."""
        for pair in pairs:
            if pair in self._touches or len(self._touches) < MAX_PAIRS:
                self._touches[pair] += 1

    def take(self, most: int) -> list[Pair]:
        """Return the pairs requested more than once since the last call, most requested first, and reset."""
        touches, self._touches = self._touches, Counter()
        return [pair for pair, count in touches.most_common(most) if count >= LEAST_TOUCHES]
