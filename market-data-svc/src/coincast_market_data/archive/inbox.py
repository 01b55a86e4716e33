"""Import of submitted folders of candles into the archive, with a report on each file."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import structlog

from coincast_chassis.clock import Clock
from coincast_chassis.durable_files import replace_file
from coincast_chassis.errors import CoincastError, Conflict
from coincast_market_data.archive.hourly_store import HourlyArchive
from coincast_market_data.archive.importer import FileReport, candle_files, import_file
from coincast_market_data.archive.store import INBOX, ORDER, Archive
from coincast_market_data.history.candle_builder import last_closed_day
from coincast_market_data.identifiers import canonical_currency

REPORT = "report.json"
LOOK_SECONDS = 0.2
# A report that was not collected.
FORGOTTEN_SECONDS = 86_400.0
log = structlog.get_logger(__name__)


class Inbox:
    """The writer's side; a process that is not the writer leaves everything where it is."""

    def __init__(self, archive: Archive, clock: Clock, hours: HourlyArchive | None = None) -> None:
        self._archive, self._hours = archive, hours
        self._clock = clock
        self._passed_by: set[str] = set()

    async def take(self) -> None:
        """Import the orders that have arrived; one that fails never stops another.

        Anything else in the inbox is not touched, and is logged once.
        """
        if not self._archive.acquire_writer_lock():
            return
        for order in sorted((self._archive.root / INBOX).glob("*")):
            if order.name.startswith("."):
                continue
            try:
                if order.is_symlink() or not order.is_dir():
                    self._pass_by(order, "it is not an order: a folder with order.json")
                elif (order / REPORT).exists():
                    self._forget(order)
                else:
                    await self._import_order(order)
            except Exception as error:
                # Orders come from outside this process. Whatever is wrong with one, the next must be taken.
                self._pass_by(order, str(error) or type(error).__name__)

    def _pass_by(self, order: Path, reason: str) -> None:
        if order.name not in self._passed_by:
            self._passed_by.add(order.name)
            log.warning("inbox_entry_passed_by", entry=order.name, reason=reason)

    def _pass_by_unless_gone(self, order: Path) -> None:
        """Name a folder without an order, unless its sender has read the report and removed it."""
        if order.exists():
            self._pass_by(order, f"it has no {ORDER}")

    async def _import_order(self, order: Path) -> None:
        wanted = True
        try:
            request = orjson.loads((order / ORDER).read_bytes())
            wanted, currency = bool(request["report"]), canonical_currency(request["currency"])
            last = last_closed_day(self._clock.now())
            files = candle_files(order)
            reports = [
                await import_file(
                    path, self._archive, currency, last, hours=self._hours, with_arrivals=not wanted
                )
                for path in files
            ]
        except FileNotFoundError:
            self._pass_by_unless_gone(order)
            return
        except (CoincastError, OSError, ValueError, KeyError, TypeError) as error:
            log.warning("inbox_candles_refused", order=order.name, reason=str(error))
            reports = [FileReport(ORDER, refused=str(error))]
        log.info("inbox_candles_taken", files=len(reports), added=sum(r.added for r in reports))
        if wanted:
            body = orjson.dumps([asdict(report) for report in reports])
            replace_file(order / REPORT, body)
        else:
            shutil.rmtree(order, ignore_errors=True)

    def _forget(self, order: Path) -> None:
        if self._clock.now() - (order / REPORT).stat().st_mtime > FORGOTTEN_SECONDS:
            shutil.rmtree(order, ignore_errors=True)


async def report_of(order: Path, inbox: Inbox, wait_seconds: float) -> list[FileReport]:
    """Return the writer's report on the files.

    Where no other process is the writer, this process imports the folder itself.

    Args:
        order: The folder of the order, from `submit_files`.
        inbox: The inbox, used if this process is the writer.
        wait_seconds: How long to wait for the writer.

    Raises:
        Conflict: The writer gave no report in time.
    """
    deadline = asyncio.get_running_loop().time() + wait_seconds
    while not (order / REPORT).exists():
        if asyncio.get_running_loop().time() >= deadline:
            raise Conflict(
                f"the service that writes this archive did not take the files within {wait_seconds:g} s."
                f" They wait in {order} and are taken when it next can;"
                " look into its log, or stop it and import again"
            )
        await inbox.take()
        await asyncio.sleep(LOOK_SECONDS)
    reports = [_report(row) for row in orjson.loads((order / REPORT).read_bytes())]
    _take_away(order)
    return reports


def _take_away(order: Path) -> None:
    """Remove the order in one step: half of it would look like an order that was not taken yet."""
    shutil.rmtree(order.rename(order.with_name(f".{order.name}")), ignore_errors=True)


def _report(row: dict[str, Any]) -> FileReport:
    days = {name: date.fromisoformat(row[name]) for name in ("first_day", "last_day") if row[name]}
    return FileReport(**{**row, "first_day": None, "last_day": None, **days})
