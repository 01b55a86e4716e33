"""The batcher's leases on the cache of quotes: of several replicas that need a pair, one fetches it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from coincast_market_data.cache.entry import CacheEntry
from coincast_market_data.cache.leases import KeyLeases
from coincast_market_data.coingecko.parser import Pair
from coincast_market_data.domain import Quote
from coincast_market_data.prices.batcher import PairLeaseResult
from coincast_market_data.prices.fetcher import quote_key

# Leases for more pairs than this would cost more than a second upstream call.
MOST_PAIRS = 1000


class PairLeases:
    """The leases of the cache of quotes, by pair."""

    def __init__(self, sharing: KeyLeases[Quote | None]) -> None:
        self._sharing = sharing
        # The stored entries of awaited pairs when the wait began.
        self._seen: dict[str, float] = {}

    async def claim(self, pairs: Sequence[Pair]) -> PairLeaseResult:
        """Take the leases of these pairs where no other replica has them."""
        if len(pairs) > MOST_PAIRS:
            return PairLeaseResult(pairs)
        by_key = {quote_key(pair): pair for pair in pairs}
        share = await self._sharing.claim(list(by_key))
        self._seen |= {key: share.seen[key] for key in share.elsewhere}
        found = {by_key[key]: entry for key, entry in share.found.items()}
        return PairLeaseResult([by_key[k] for k in share.mine], found, [by_key[k] for k in share.elsewhere])

    async def wait(self, pairs: Sequence[Pair]) -> Mapping[Pair, CacheEntry[Quote | None]]:
        """Wait a bounded time for what other replicas fetch of these pairs."""
        by_key = {quote_key(pair): pair for pair in pairs}
        seen = {key: self._seen.pop(key) for key in by_key}
        found = await self._sharing.wait(list(by_key), seen)
        return {by_key[key]: entry for key, entry in found.items()}

    def release(self, pairs: Sequence[Pair]) -> None:
        """Release pairs that could not be fetched."""
        self._sharing.release([quote_key(pair) for pair in pairs])
