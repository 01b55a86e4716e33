"""The back-off before a process that ended is restarted, counted separately for each process."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

FIRST_DELAY_SECONDS = 0.0
BASE_DELAY_SECONDS = 0.5
MAX_DELAY_SECONDS = 30.0
# A process that ran this long counts as healthy, which resets its count of failures.
HEALTHY_SECONDS = 60.0
# After this many failures without a healthy run in between, restarts are given up.
MAX_FAILED_STARTS = 8


@dataclass(slots=True)
class _Record:
    started_at: float
    failures: int = 0


@dataclass(slots=True)
class RestartPolicy:
    """Exponential back-off for each process.

    The first restart is immediate; the next ones wait 0.5, 1, 2, ... seconds, at most 30. After a run of one
    minute the delays start from the beginning.

    Args:
        monotonic: Clock; replaced by tests.
    """

    monotonic: Callable[[], float] = time.monotonic
    _records: dict[str, _Record] = field(default_factory=dict)

    def record_start(self, name: str) -> None:
        """Record that a process was started now."""
        now = self.monotonic()
        self._records.setdefault(name, _Record(now)).started_at = now

    def delay_after_end(self, name: str) -> float | None:
        """Record that a process ended; return the seconds to wait, or None to give up."""
        record = self._records.setdefault(name, _Record(self.monotonic()))
        if self.monotonic() - record.started_at >= HEALTHY_SECONDS:
            record.failures = 0
        record.failures += 1
        if record.failures > MAX_FAILED_STARTS:
            return None
        if record.failures == 1:
            return FIRST_DELAY_SECONDS
        return float(min(BASE_DELAY_SECONDS * 2 ** (record.failures - 2), MAX_DELAY_SECONDS))
