"""Protocols of the service's collaborators; adapters and test fakes implement them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Protocol

from coincast_chassis.errors import CoincastError
from coincast_forecast.domain import History, HourlyHistory, LedgerCounts
from coincast_modelkit.ledger import LedgerEntry
from coincast_modelkit.scenarios.statements import RiskStatement


class HistorySource(Protocol):
    """Source of daily candles of closed days; market-data-svc in production."""

    async def fetch(
        self, ids: Sequence[str], vs_currency: str, days: int, *, sparkline_ids: Sequence[str] = ()
    ) -> Mapping[str, History | CoincastError]:
        """Return each coin's history or error.

        For `sparkline_ids`, a week from a sparkline suffices while nothing more is stored.

        Raises:
            CoincastError: The request failed for all coins.
        """
        ...

    async def last_closed_day(self, vs_currency: str) -> date:
        """Return the newest closed day of the source, by the source's own clock."""
        ...


class PastHistorySource(Protocol):
    """Source of daily candles as they were known at a past time; market-data-svc in production."""

    async def fetch(
        self, ids: Sequence[str], vs_currency: str, days: int, known_at: datetime | None
    ) -> Mapping[str, History | CoincastError]:
        """Return each coin's history as it was known then, or its error.

        Raises:
            CoincastError: The request failed for all coins.
        """
        ...


class PastHourlySource(Protocol):
    """Source of hourly candles as they were known at a past time; market-data-svc in production."""

    async def known_at(
        self, ids: Sequence[str], vs_currency: str, moment: datetime
    ) -> Mapping[str, HourlyHistory | CoincastError]:
        """Return each coin's hours that had arrived by the time, or its error."""
        ...


class RiskLog(Protocol):
    """Durable log of served risk answers, from which training-svc scores them."""

    async def append(self, entries: Sequence[RiskStatement]) -> bool:
        """Write entries; return whether all of them are durable."""
        ...


class Ledger(Protocol):
    """Durable log of served forecasts, from which training-svc scores them."""

    async def append(self, entries: Sequence[LedgerEntry]) -> bool:
        """Write entries; return whether all of them are durable."""
        ...

    def counts(self) -> LedgerCounts:
        """Return the numbers of entries written and waiting on disk."""
        ...
