"""Short-lived cache of encoded GetPrices replies."""

from __future__ import annotations

from coincast.market.v1 import market_pb2
from coincast_chassis.clock import Clock
from coincast_chassis.resilience.bounded_cache import BoundedCache
from coincast_market_data.domain import Prices

MAX_BYTES = 16 * 1024 * 1024


class EncodedPriceCache:
    """Encoded replies by the request's own bytes.

    An age in a cached reply is off by `seconds` at most; stale replies are not cached.
    """

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._seconds = seconds
        self._ready: BoundedCache[bytes, market_pb2.GetPricesResponse] = BoundedCache(
            max_bytes=MAX_BYTES, ttl_seconds=seconds, clock=clock
        )

    def find(self, key: bytes) -> market_pb2.GetPricesResponse | None:
        """Return the reply to exactly this request; None where none is cached."""
        return self._ready.get(key)

    def keep(self, key: bytes, reply: market_pb2.GetPricesResponse, prices: Prices) -> None:
        """Cache a whole and fresh reply."""
        if self._seconds <= 0 or prices.failures or any(item.provenance.stale for item in prices.prices):
            return
        self._ready.put(key, reply)
