"""Repair of the archive: quarantine implausible days and hours, and fetch them again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from coincast_chassis.errors import CoincastError, NotFound
from coincast_market_data.archive.store import Archive
from coincast_market_data.domain import RepairReport
from coincast_market_data.history.gap_filler import GapFiller
from coincast_market_data.identifiers import Pair, canonical_currency, split_ids
from coincast_market_data.item_errors import item_failure


class SpotSource(Protocol):
    """Fetches spot prices, with which the newest days are compared."""

    async def refresh(self, pairs: Sequence[Pair]) -> None:
        """Fetch the pairs again, below the priority of callers."""
        ...


class RepairJob:
    """Repairs one coin after the other, below the priority of callers.

    Quarantined candles are stored in a revision beside the archive.
    """

    def __init__(self, archive: Archive, filler: GapFiller, prices: SpotSource) -> None:
        self._archive = archive
        self._filler = filler
        self._prices = prices

    async def run(
        self, ids: Sequence[str], currency: str, *, dry_run: bool = False
    ) -> AsyncIterator[RepairReport]:
        """Yield a report for each stored coin and currency; a coin that fails does not stop the others.

        Args:
            ids: The coins; empty means all stored ones.
            currency: Only this currency; empty means all stored ones.
            dry_run: Whether to report only, without fetching or changing anything.

        Raises:
            InvalidInput: An id or the currency is not valid.
        """
        code = canonical_currency(currency) if currency else ""
        keys = [key for key in self._archive.stored_pairs() if not code or key[1] == code]
        if ids:
            coins, bad = split_ids(ids)
            keys = [key for key in keys if key[0] in coins]
            unknown = [coin for coin in coins if coin not in {key[0] for key in keys}]
        else:
            bad, unknown = [], []
        total, done = len(keys) + len(bad) + len(unknown), 0
        for text in [*bad, *unknown]:
            done += 1
            error = NotFound(f"nothing of {text} is stored", field="ids")
            yield RepairReport(text, code, done, total, failure=item_failure(text, error))
        for coin, stored_currency in keys:
            done += 1
            yield await self._repair(RepairReport(coin, stored_currency, done, total), dry_run=dry_run)

    async def _repair(self, report: RepairReport, *, dry_run: bool) -> RepairReport:
        try:
            if not dry_run:
                await self._prices.refresh([(report.id, report.vs_currency)])
            await self._filler.repair(report, dry_run=dry_run)
        except CoincastError as error:
            report.failure = item_failure(report.id, error)
        return report
