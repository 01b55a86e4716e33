"""Read the live records of served forecasts and risk answers, which training-svc writes beside the artifacts.

`auto` uses the live skill of the models. Risk replies quote the live record of earlier answers.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from coincast_chassis.observability.error_text import without_path
from coincast_chassis.observability.logs import get_logger
from coincast_chassis.plain_files import read_plain_file
from coincast_forecast.domain import LiveScores
from coincast_modelkit.scenarios.live_record import LIVE_RISK_FILE, LiveRiskTable

log = get_logger("coincast.forecast.live_records")
SCORES_FILE = "live-record.json"
MAX_BYTES = 64 * 1024 * 1024
Parsed = TypeVar("Parsed")
Read_co = TypeVar("Read_co", covariant=True)


class LatestRecord(Protocol[Read_co]):
    """A record that is replaced from time to time."""

    @property
    def current(self) -> Read_co:
        """The newest record; the same object until there is a newer one."""
        ...


class LiveRecordReader(Generic[Parsed]):
    """Reads one file, and parses it again after it was replaced."""

    def __init__(self, path: Path, parse: Callable[[bytes], Parsed], empty: Parsed) -> None:
        """Store the options.

        Args:
            path: The file.
            parse: Parses the content of the file.
            empty: The value of `current` until a file was read.
        """
        self._path, self._parse = path, parse
        self._error = ""
        self._seen: tuple[int, int] | None = None
        self.current = empty

    async def poll(self, every_seconds: float) -> None:
        """Read the file periodically."""
        while True:
            await asyncio.to_thread(self.read)
            await asyncio.sleep(every_seconds)

    def read(self) -> None:
        """Parse the file if it is new. A file that cannot be read is logged once and changes nothing."""
        try:
            stat = self._path.stat()
            if (stat.st_mtime_ns, stat.st_size) == self._seen:
                return
            self.current = self._parse(read_plain_file(self._path, max_bytes=MAX_BYTES))
            self._seen = (stat.st_mtime_ns, stat.st_size)
        except FileNotFoundError:
            return
        except Exception as error:
            # Another service writes the file. No defect of it may end the polling.
            if without_path(error) != self._error:
                self._error = without_path(error)
                log.warning("live_record_unreadable", file=self._path.name, error=type(error).__name__)


def open_live_scores(root: Path) -> LiveRecordReader[LiveScores]:
    """Return the reader of the live skill of models, in the folder of artifacts."""
    return LiveRecordReader(root / SCORES_FILE, lambda content: scores_of(json.loads(content)), LiveScores())


def open_live_risk(root: Path) -> LiveRecordReader[LiveRiskTable]:
    """Return the reader of the live record of risk answers, in the folder of artifacts."""
    return LiveRecordReader(root / LIVE_RISK_FILE, LiveRiskTable.from_json, LiveRiskTable())


def scores_of(document: Any) -> LiveScores:
    """Return the scores of a document.

    Args:
        document: `{"records": [{"model", "id", "horizon_days", "skill_percent"}]}`; an empty id means all
            coins together. Skills that are not finite are left out.

    Raises:
        KeyError, TypeError, ValueError: The document has another form.
    """
    return LiveScores(
        {
            (str(r["model"]), str(r.get("id", "")), int(r["horizon_days"])): float(r["skill_percent"])
            for r in document["records"]
            if r.get("skill_percent") is not None and math.isfinite(float(r["skill_percent"]))
        }
    )
