"""Serialise and coalesce history fetches per coin."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from datetime import date
from weakref import WeakValueDictionary

from coincast_chassis.resilience.single_flight import SingleFlight
from coincast_market_data.coingecko.error_mapping import BeyondPlanReach

# Short compared with a fetch, and long enough for requests of the same moment.
GATHER_SECONDS = 0.02
Fill = Callable[[date], Awaitable[int]]


@dataclass(slots=True)
class PendingFetch:
    """A waiting fill, back to the earliest requested day."""

    number: int
    first: date


class FetchCoalescer:
    """Runs one fill at a time per key; a fill continues when its caller is cancelled."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, PendingFetch] = {}
        self._busy: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()
        self._flights: SingleFlight[int, int] = SingleFlight()
        self._numbers = itertools.count()

    async def take(self, key: Hashable, first: date, fill: Fill) -> int:
        """Run `fill` back to `first` or further; raises its errors.

        Args:
            key: Coin and currency.
            first: The earliest day needed.
            fill: Fills the archive from a day on.
        """
        turn = self._waiting.get(key)
        if turn is None:
            turn = self._waiting[key] = PendingFetch(next(self._numbers), first)
        turn.first = min(turn.first, first)
        try:
            return await self._flights.do(turn.number, lambda: self._go(key, turn, fill))
        except BeyondPlanReach:
            if turn.first == first:
                raise
        # A refusal of the longer span of another caller does not refuse this one.
        return await self._flights.do(next(self._numbers), lambda: fill(first))

    async def _go(self, key: Hashable, turn: PendingFetch, fill: Fill) -> int:
        await asyncio.sleep(GATHER_SECONDS)
        busy = self._busy.setdefault(key, asyncio.Lock())
        async with busy:
            del self._waiting[key]
            return await fill(turn.first)

    async def aclose(self) -> None:
        """Cancel the fills in flight."""
        await self._flights.aclose()
