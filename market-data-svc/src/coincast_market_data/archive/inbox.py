"""The inbox: folders of candles that other processes submit to the writer of the archive.

An order is a folder with `order.json` and candle files. The writer imports it and, if the order wants it,
writes a report beside the files.
"""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import structlog
from cachetools import LRUCache

from coincast_chassis.clock import Clock
from coincast_chassis.errors import CoincastError, Conflict
from coincast_chassis.observability.error_text import without_path
from coincast_chassis.plain_files import MAX_NAMED_ENTRIES, StrayLog, read_plain_file
from coincast_market_data.archive.hourly_store import HourlyArchive
from coincast_market_data.archive.importer import FileReport, candle_files, import_file
from coincast_market_data.archive.store import INBOX, ORDER, Archive
from coincast_market_data.history.candle_builder import last_closed_day
from coincast_market_data.identifiers import canonical_currency
from coincast_modelkit.durable_files import replace_file

REPORT = "report.json"
LOOK_SECONDS = 0.2
# Orders whose report was not read within this time are removed.
FORGOTTEN_SECONDS = 86_400.0
MAX_ORDER_BYTES = 65_536
log = structlog.get_logger(__name__)


class Inbox:
    """Imports the orders of the inbox, if this process is the writer.

    Args:
        archive: The archive of days.
        clock: The current time, for the newest closed day.
        hours: The archive of hours; None leaves hours out.
    """

    def __init__(self, archive: Archive, clock: Clock, hours: HourlyArchive | None = None) -> None:
        self._archive, self._hours = archive, hours
        self._clock = clock
        self._strays = StrayLog("inbox_entry_skipped")
        # The orders that were imported but could neither be removed nor get a report, for example since
        # another user owns their folder, with the time of their `order.json`.
        self._imported: LRUCache[str, int] = LRUCache(MAX_NAMED_ENTRIES)

    async def take(self) -> None:
        """Import the waiting orders. One that fails does not stop the others.

        Other entries of the inbox are left as they are, and logged once.
        """
        if not self._archive.acquire_writer_lock():
            return
        for order in sorted((self._archive.root / INBOX).glob("*")):
            if order.name.startswith("."):
                continue
            try:
                if order.is_symlink() or not order.is_dir():
                    self._strays.name(order, "it is not an order: a folder with order.json")
                elif (order / REPORT).exists():
                    self._remove_if_forgotten(order)
                elif self._imported.get(order.name) != (version := (order / ORDER).stat().st_mtime_ns):
                    self._imported[order.name] = version
                    await self._import_order(order)
            except FileNotFoundError:
                # Its sender may have read the report and removed it.
                if order.exists():
                    self._strays.name(order, f"it has no {ORDER}")
            except Exception as error:
                # Orders are written by other processes. Any defect of one must not stop the next.
                self._strays.name(order, without_path(error))

    async def _import_order(self, order: Path) -> None:
        wanted = True
        try:
            request = orjson.loads(read_plain_file(order / ORDER, max_bytes=MAX_ORDER_BYTES))
            wanted, currency = bool(request["report"]), canonical_currency(str(request["currency"]))
            last = last_closed_day(self._clock.now())
            files = candle_files(order)
            reports = [
                await import_file(
                    path, self._archive, currency, last, hours=self._hours, with_arrivals=not wanted
                )
                for path in files
            ]
        except FileNotFoundError:
            raise
        except (CoincastError, OSError, ValueError, KeyError, TypeError) as error:
            reason = without_path(error)
            log.warning("inbox_candles_refused", order=order.name, reason=reason)
            reports = [FileReport(ORDER, refused=reason)]
        log.info("inbox_candles_taken", files=len(reports), added=sum(r.added for r in reports))
        if wanted:
            body = orjson.dumps([asdict(report) for report in reports])
            replace_file(order / REPORT, body)
        else:
            shutil.rmtree(order, ignore_errors=True)

    def _remove_if_forgotten(self, order: Path) -> None:
        if self._clock.now() - (order / REPORT).stat().st_mtime > FORGOTTEN_SECONDS:
            shutil.rmtree(order, ignore_errors=True)


async def report_of(order: Path, inbox: Inbox, wait_seconds: float) -> list[FileReport]:
    """Wait for the writer's report on an order, and remove the order.

    If no other process is the writer, this process imports the order itself.

    Args:
        order: The folder of the order, from `submit_files`.
        inbox: The inbox, for the case that this process is the writer.
        wait_seconds: How long to wait for the writer.

    Raises:
        Conflict: There is no report in time.
    """
    deadline = asyncio.get_running_loop().time() + wait_seconds
    while not (order / REPORT).exists():
        if asyncio.get_running_loop().time() >= deadline:
            raise Conflict(
                f"the service that writes this archive did not import the files within {wait_seconds:g} s."
                f" They wait in {order} and are imported as soon as it can;"
                " see its log, or stop it and import again"
            )
        await inbox.take()
        await asyncio.sleep(LOOK_SECONDS)
    reports = [_report(row) for row in orjson.loads((order / REPORT).read_bytes())]
    _remove_atomically(order)
    return reports


def _remove_atomically(order: Path) -> None:
    """Hide the order by a rename before removing it, since a part of it would look like a new order."""
    shutil.rmtree(order.rename(order.with_name(f".{order.name}")), ignore_errors=True)


def _report(row: dict[str, Any]) -> FileReport:
    days = {name: date.fromisoformat(row[name]) for name in ("first_day", "last_day") if row[name]}
    return FileReport(**{**row, "first_day": None, "last_day": None, **days})
