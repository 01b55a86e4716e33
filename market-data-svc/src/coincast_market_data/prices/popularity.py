"""Which prices are asked for often, so that they are fetched anew before anyone has to wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from coincast_market_data.coingecko.parser import Pair

MAX_PAIRS = 5000
LEAST_TOUCHES = 2


class PairPopularity:
    """Counts questions between two refreshes; bounded."""

    def __init__(self) -> None:
        self._touches: Counter[Pair] = Counter()

    def touch(self, pairs: Iterable[Pair]) -> None:
        """Count one question for each pair."""
        for pair in pairs:
            if pair in self._touches or len(self._touches) < MAX_PAIRS:
                self._touches[pair] += 1

    def take(self, most: int) -> list[Pair]:
        """The pairs asked for more than once since the last take, hottest first; starts counting anew."""
        touches, self._touches = self._touches, Counter()
        return [pair for pair, count in touches.most_common(most) if count >= LEAST_TOUCHES]
