"""Replies kept ready encoded for a blink, so that a hot question costs a look-up."""

from __future__ import annotations

from collections import OrderedDict

from coincast.market.v1 import market_pb2
from coincast_chassis.clock import Clock
from coincast_market_data.domain import Prices

LARGEST = 2048


class EncodedPriceCache:
    """By the request's own bytes. An age in a ready reply is off by `seconds` at most; stale replies are
    not kept.
    """

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._ready: OrderedDict[bytes, tuple[float, market_pb2.GetPricesResponse]] = OrderedDict()

    def find(self, key: bytes) -> market_pb2.GetPricesResponse | None:
        """The reply to exactly this request, if it is still ready."""
        found = self._ready.get(key)
        if found is None or found[0] < self._clock.monotonic():
            return None
        return found[1]

    def keep(self, key: bytes, reply: market_pb2.GetPricesResponse, prices: Prices) -> None:
        """Keep a whole and fresh reply."""
        if self._seconds <= 0 or prices.failures or any(item.provenance.stale for item in prices.prices):
            return
        self._ready[key] = (self._clock.monotonic() + self._seconds, reply)
        self._ready.move_to_end(key)
        if len(self._ready) > LARGEST:
            self._ready.popitem(last=False)
