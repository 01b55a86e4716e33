"""The clock of the data: the machine's, set right by what the upstream says the time is."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from coincast_chassis.clock import Clock

SANDBOX_NOW_HEADER = "x-coincast-sandbox-now"
# A machine's clock may be off by an hour (a wrong time zone, a suspended host); by more than this it is the
# upstream's date that is absurd.
MAX_CORRECTION_SECONDS = 26 * 3600
# Below this, transit time and the header's whole seconds say more than a difference does.
MIN_CORRECTION_SECONDS = 30


class UpstreamClock:
    """UNIX seconds on the upstream's clock: system time plus an offset learnt from each reply."""

    def __init__(self, clock: Clock, *, sandbox: bool) -> None:
        self._clock = clock
        self._sandbox = sandbox
        self.offset_seconds = 0.0

    def now(self) -> float:
        """UNIX seconds on the upstream's clock."""
        return self._clock.now() + self.offset_seconds

    def learn(self, headers: Mapping[str, str]) -> None:
        """Take the time from one reply's headers; headers without a usable time change nothing."""
        server_time = self._read_time(headers)
        if server_time is None:
            return
        offset = server_time - self._clock.now()
        if self._sandbox:
            self.offset_seconds = offset
        elif abs(offset) <= MAX_CORRECTION_SECONDS:
            self.offset_seconds = offset if abs(offset) >= MIN_CORRECTION_SECONDS else 0.0

    def _read_time(self, headers: Mapping[str, str]) -> float | None:
        try:
            if self._sandbox:
                return float(headers[SANDBOX_NOW_HEADER])
            return parsedate_to_datetime(headers["date"]).timestamp()
        except (KeyError, ValueError, OverflowError):
            return None
