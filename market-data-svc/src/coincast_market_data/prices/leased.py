"""The batcher's leases, on the cache of quotes: of several replicas that need a pair, one fetches it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from coincast_market_data.cache.entry import Cached
from coincast_market_data.cache.sharing import Sharing
from coincast_market_data.domain import Quote
from coincast_market_data.parse import Pair
from coincast_market_data.prices.replicas import PairShare
from coincast_market_data.prices.source import quote_key

# Leases for more pairs than this cost more than a call that turns out to be the second one.
MOST_PAIRS = 1000


class LeasedPairs:
    """The leases of the cache of quotes, by pair."""

    def __init__(self, sharing: Sharing[Quote | None]) -> None:
        self._sharing = sharing
        # Of pairs that are waited for: what was known of them when the wait began.
        self._seen: dict[str, float] = {}

    async def claim(self, pairs: Sequence[Pair]) -> PairShare:
        """Take the right to fetch these pairs where nobody else has it."""
        if len(pairs) > MOST_PAIRS:
            return PairShare(pairs)
        by_key = {quote_key(pair): pair for pair in pairs}
        share = await self._sharing.claim(list(by_key))
        self._seen |= {key: share.seen[key] for key in share.elsewhere}
        found = {by_key[key]: entry for key, entry in share.found.items()}
        return PairShare([by_key[k] for k in share.mine], found, [by_key[k] for k in share.elsewhere])

    async def wait(self, pairs: Sequence[Pair]) -> Mapping[Pair, Cached[Quote | None]]:
        """What others bring of these pairs, within a bounded time."""
        by_key = {quote_key(pair): pair for pair in pairs}
        seen = {key: self._seen.pop(key) for key in by_key}
        found = await self._sharing.wait(list(by_key), seen)
        return {by_key[key]: entry for key, entry in found.items()}

    def release(self, pairs: Sequence[Pair]) -> None:
        """These could not be fetched."""
        self._sharing.release([quote_key(pair) for pair in pairs])
