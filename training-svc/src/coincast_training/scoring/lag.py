"""Sizes of the ledgers, and the lag of the disk behind their streams."""

from __future__ import annotations

import asyncio
import math
from typing import Protocol

from prometheus_client import Gauge

from coincast.training.v1 import training_pb2 as pb
from coincast_chassis.errors import Unavailable
from coincast_training import metrics
from coincast_training.scoring.consumer import Lag
from coincast_training.scoring.risk.store import RiskStore
from coincast_training.scoring.store import LedgerStore


class LagSource(Protocol):
    """Source of the lag of the disk behind a stream; the consumers of the ledgers implement it."""

    async def lag(self) -> Lag:
        """Return the lag.

        Raises:
            Unavailable: The stream cannot be read.
        """
        ...


class LedgerWatch:
    """Report the counts of forecasts and of risk answers.

    An unknown lag is absent (NaN on the gauge), not zero.

    Args:
        consumer: The consumer of served forecasts.
        store: The served forecasts on disk.
        risk_consumer: The consumer of served risk answers.
        risk_store: The served risk answers on disk.
    """

    def __init__(
        self, consumer: LagSource, store: LedgerStore, *, risk_consumer: LagSource, risk_store: RiskStore
    ) -> None:
        self._consumer, self._store = consumer, store
        self._risk_consumer, self._risk_store = risk_consumer, risk_store

    async def status(self) -> pb.LedgerStatus:
        """Return the current status, and set the gauges of the lag."""
        stored, scored = await asyncio.to_thread(self._store.counts)
        open_statements, chances = await asyncio.to_thread(self._risk_store.counts)
        reply = pb.LedgerStatus(
            stored_forecasts=stored,
            scored_forecasts=scored,
            open_risk_statements=open_statements,
            scored_risk_chances=chances,
        )
        lag = await _show_lag(self._consumer, metrics.LEDGER_LAG, metrics.LEDGER_LAG_SECONDS)
        if lag is not None and lag.entries is not None:
            reply.lag_entries = lag.entries
        if lag is not None and lag.seconds is not None:
            reply.lag_seconds = lag.seconds
        lag = await _show_lag(self._risk_consumer, metrics.RISK_LAG, metrics.RISK_LAG_SECONDS)
        if lag is not None and lag.entries is not None:
            reply.risk_lag_entries = lag.entries
        if lag is not None and lag.seconds is not None:
            reply.risk_lag_seconds = lag.seconds
        return reply


async def _show_lag(source: LagSource, entries: Gauge, seconds: Gauge) -> Lag | None:
    """Set the gauges of the lag of a stream and return the lag; None if the stream cannot be read."""
    try:
        lag = await source.lag()
    except Unavailable:
        return None
    entries.set(math.nan if lag.entries is None else lag.entries)
    seconds.set(lag.seconds or 0.0)
    return lag
