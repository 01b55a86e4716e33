"""What the forecast service needs of the world."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from coincast_chassis.errors import CoincastError
from coincast_forecast.domain import LedgerCounts, Provenance
from coincast_modelkit.candles import Candles
from coincast_modelkit.ledger import LedgerEntry


@dataclass(frozen=True, slots=True)
class History:
    """One coin's closed days and where they come from."""

    candles: Candles
    provenance: Provenance


class HistorySource(Protocol):
    """Daily candles of closed days; market-data-svc in production."""

    async def fetch(
        self, ids: Sequence[str], vs_currency: str, days: int
    ) -> Mapping[str, History | CoincastError]:
        """Each coin's history or its error. Raises CoincastError where nothing can be had at all."""
        ...

    async def last_closed_day(self, vs_currency: str) -> date:
        """The newest closed day that the source has, by its own clock."""
        ...


class Ledger(Protocol):
    """Keeps what was forecast, so that it can be scored."""

    async def append(self, entries: Sequence[LedgerEntry]) -> bool:
        """True once all entries are safe against the end of this process; False where they are not."""
        ...

    def counts(self) -> LedgerCounts:
        """What was written, what waits."""
        ...
