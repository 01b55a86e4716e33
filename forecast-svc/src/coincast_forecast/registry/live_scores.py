"""Recent live skill of the models, written by training-svc beside the artifacts and used by `auto`."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path
from typing import Any

from coincast_chassis.observability.logs import get_logger
from coincast_forecast.domain import LiveScores

log = get_logger("coincast.forecast.scores")
FILE = "live-record.json"


class LiveScoreReader:
    """Reader of the live record, which is parsed again when the file was replaced."""

    def __init__(self, root: Path) -> None:
        self._path = root / FILE
        self._error = ""
        self._seen: tuple[int, int] | None = None
        self.current = LiveScores()

    async def poll(self, every_seconds: float) -> None:
        """Read the file periodically."""
        while True:
            await asyncio.to_thread(self.read)
            await asyncio.sleep(every_seconds)

    def read(self) -> None:
        """Parse a file that is new; one that cannot be read is logged once and changes nothing."""
        try:
            stat = self._path.stat()
            if (stat.st_mtime_ns, stat.st_size) == self._seen:
                return
            self.current = scores_of(json.loads(self._path.read_bytes()))
            self._seen = (stat.st_mtime_ns, stat.st_size)
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            if str(error) != self._error:
                self._error = str(error)
                log.warning("live_record_unreadable", error=type(error).__name__)


def scores_of(document: Any) -> LiveScores:
    """Return the scores of a document.

    Args:
        document: `{"records": [{"model", "id", "horizon_days", "skill_percent"}]}`; an empty id
            means all coins together. A skill that is not finite is left out.

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
