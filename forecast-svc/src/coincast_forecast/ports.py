"""Protocols of the service's collaborators, implemented by its adapters and by the fakes of its tests."""

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

    `partial_reason` is set where the source has more days than it could deliver for now;
    `retry_after_seconds` then says when a further request may give more. `doubt_reason` is set while the
    newest days are not confirmed. `from_sparkline` marks a last week of closes whose hours are assumed: it
    serves the market features alone. `ranges_pending` marks a partial history that has every close: only
    highs and lows of some days are to come.
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
        """Return whether this is all that the source has, confirmed."""
        return not self.partial_reason and not self.doubt_reason


@dataclass(frozen=True, slots=True, eq=False)
class HourlyHistory:
    """One coin's hours, where they come from, and why they are in doubt; empty where they are not."""

    candles: HourlyCandles
    provenance: Provenance
    doubt_reason: str = ""


def partial_error(coin: str, reason: str, retry_after_seconds: float | None) -> Unavailable:
    """Return the error for a history that is partial for now and too short to forecast from."""
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

        For `sparkline_ids` the last week is enough while nothing more is stored.

        Raises:
            CoincastError: The source gave nothing for any coin.
        """
        ...

    async def last_closed_day(self, vs_currency: str) -> date:
        """Return the newest closed day of the source, by the source's own clock."""
        ...


class PastHistorySource(Protocol):
    """Source of daily candles as they were known at a past moment; market-data-svc in production."""

    async def fetch(
        self, ids: Sequence[str], vs_currency: str, days: int, known_at: datetime | None
    ) -> Mapping[str, History | CoincastError]:
        """Return each coin's history of that moment, or its error.

        Raises:
            CoincastError: The source gave nothing for any coin.
        """
        ...


class PastHourlySource(Protocol):
    """Source of hourly candles as they were known at a past moment; market-data-svc in production."""

    async def known_at(
        self, ids: Sequence[str], vs_currency: str, moment: datetime
    ) -> Mapping[str, HourlyHistory | CoincastError]:
        """Return each coin's hours that had come by the moment, or its error."""
        ...


class RiskLog(Protocol):
    """Durable log of served risk answers, from which training-svc scores them."""

    async def append(self, entries: Sequence[RiskStatement]) -> bool:
        """Return True once all entries are durable, False where they are not."""
        ...


class Ledger(Protocol):
    """Durable log of served forecasts, from which training-svc scores them."""

    async def append(self, entries: Sequence[LedgerEntry]) -> bool:
        """Return True once all entries are durable, False where they are not."""
        ...

    def counts(self) -> LedgerCounts:
        """Return how many entries were written and how many wait on disk."""
        ...
