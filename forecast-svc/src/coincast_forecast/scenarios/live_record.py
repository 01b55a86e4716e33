"""How served risk answers came true, written by training-svc beside the artifacts and quoted with answers."""

from __future__ import annotations

import asyncio
from pathlib import Path

from coincast_chassis.observability.logs import get_logger
from coincast_modelkit.scenarios.live_record import LIVE_RISK_FILE, LiveRiskTable

log = get_logger("coincast.forecast.live_risk")


class LiveRiskReader:
    """Reader of the live record of risk answers, which is parsed again when the file was replaced."""

    def __init__(self, root: Path) -> None:
        self._path = root / LIVE_RISK_FILE
        self._error = ""
        self._seen: tuple[int, int] | None = None
        self.current = LiveRiskTable()

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
            self.current = LiveRiskTable.from_json(self._path.read_bytes())
            self._seen = (stat.st_mtime_ns, stat.st_size)
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            if str(error) != self._error:
                self._error = str(error)
                log.warning("live_risk_record_unreadable", error=type(error).__name__)
