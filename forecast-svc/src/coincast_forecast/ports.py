"""Protocols of the service's collaborators; adapters and test fakes implement them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

from coincast_chassis.errors import CoincastError, Unavailable
from coincast_forecast.domain import LedgerCounts, Provenance
from coincast_modelkit.candles import Candles
from coincast_modelkit.hourly.candles import HourlyCandles
from coincast_modelkit.ledger import LedgerEntry
from coincast_modelkit.scenarios.statements import RiskStatement


@dataclass(frozen=True, slots=True)
class History:
    """The closed days of one coin and their provenance.

    `partial_reason` is set if the source has more days than it could deliver so far; `retry_after_seconds` is
    then the time after which a further request may return more. `doubt_reason` is set while the newest days
    are not confirmed. `from_sparkline` marks a week of closes from a sparkline, whose times are assumed; it
    is used only for market features. `ranges_pending` marks a partial history with all closes, in which only
    highs and lows of some days are missing.
    """

    candles: Candles
    provenance: Provenance
    partial_reason: str = ""
    retry_after_seconds: float | None = None
    doubt_reason: str = ""
    from_sparkline: bool = False
    ranges_pending: bool = False

    @property
    def is_whole(self) -> bool:
        """Return whether the history is complete and confirmed."""
        return not self.partial_reason and not self.doubt_reason


@dataclass(frozen=True, slots=True, eq=False)
class HourlyHistory:
    """One coin's hours and their provenance; `doubt_reason` is set while they are not confirmed."""

    candles: HourlyCandles
    provenance: Provenance
    doubt_reason: str = ""


def partial_error(coin: str, reason: str, retry_after_seconds: float | None) -> Unavailable:
    """Return the error for a partial history that is too short for a forecast."""
    return Unavailable(
        f"the history of {coin} is incomplete for now: {reason}",
        retry_after_seconds=5.0 if retry_after_seconds is None else retry_after_seconds,
    )


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
