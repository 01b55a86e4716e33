"""Size of the ledger, and the lag of the disk behind the stream."""

from __future__ import annotations

import asyncio
import math
from typing import Protocol

from coincast.training.v1 import training_pb2 as pb
from coincast_chassis.errors import Unavailable
from coincast_training import metrics
from coincast_training.scoring.consumer import Lag
from coincast_training.scoring.store import LedgerStore


class LagSource(Protocol):
    """Source of the lag of the disk behind the stream; the consumer of the ledger implements it."""

    async def lag(self) -> Lag:
        """Return the lag.

        Raises:
            Unavailable: The stream cannot be read.
        """
        ...


class LedgerWatch:
    """Report the counts; an unknown lag is absent (NaN on the gauge), not zero."""

    def __init__(self, consumer: LagSource, store: LedgerStore) -> None:
        self._consumer, self._store = consumer, store

    async def status(self) -> pb.LedgerStatus:
        """Return the current figures."""
        stored, scored = await asyncio.to_thread(self._store.counts)
        reply = pb.LedgerStatus(stored_forecasts=stored, scored_forecasts=scored)
        try:
            lag = await self._consumer.lag()
        except Unavailable:
            return reply
        metrics.LEDGER_LAG.set(math.nan if lag.entries is None else lag.entries)
        metrics.LEDGER_LAG_SECONDS.set(lag.seconds or 0.0)
        if lag.entries is not None:
            reply.lag_entries = lag.entries
        if lag.seconds is not None:
            reply.lag_seconds = lag.seconds
        return reply
