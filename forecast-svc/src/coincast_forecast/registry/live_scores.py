"""Recent live skill of the models, which training-svc writes beside the artifacts; `auto` chooses by it."""

import asyncio
import json
from pathlib import Path
from typing import Any

from coincast_chassis.observability.logs import get_logger
from coincast_forecast.domain import LiveScores

log = get_logger("coincast.forecast.scores")
FILE = "live-record.json"


class LiveScoreReader:
    """The file's content, read again when it was replaced."""

    def __init__(self, root: Path) -> None:
        self._path = root / FILE
        self._seen: tuple[int, int] | None = None
        self.current = LiveScores()

    async def poll(self, every_seconds: float) -> None:
        """Look for ever."""
        while True:
            await asyncio.to_thread(self.read)
            await asyncio.sleep(every_seconds)

    def read(self) -> None:
        """Take over a file that is new; one that cannot be read changes nothing."""
        try:
            stat = self._path.stat()
            if (stat.st_mtime_ns, stat.st_size) == self._seen:
                return
            self.current = scores_of(json.loads(self._path.read_bytes()))
            self._seen = (stat.st_mtime_ns, stat.st_size)
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, KeyError) as error:
            log.warning("live record cannot be read", error=str(error))


def scores_of(document: Any) -> LiveScores:
    """`{"records": [{"model", "id", "horizon_days", "skill_percent"}]}`; an empty id is all coins together.

    Raises KeyError, TypeError or ValueError where it is something else.
    """
    return LiveScores(
        {
            (str(r["model"]), str(r.get("id", "")), int(r["horizon_days"])): float(r["skill_percent"])
            for r in document["records"]
            if r.get("skill_percent") is not None
        }
    )
