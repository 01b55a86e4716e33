"""Clock of the data: the machine's clock, corrected by the upstream's `Date` headers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime

from coincast_chassis.clock import Clock

SANDBOX_NOW_HEADER = "x-coincast-sandbox-now"
# A machine's clock may be off by an hour (a wrong time zone, a suspended host); by more than this it is the
# upstream's date that is absurd.
MAX_CORRECTION_SECONDS = 26 * 3600
# Below this, transit time and the header's whole seconds say more than a difference does.
MIN_CORRECTION_SECONDS = 30


# A cached `Date` is too old and never too new, so the newest time of this many replies counts.
SAMPLES = 5
# A correction beyond the limit is taken where the machine's own wall clock, set meanwhile, agrees so closely.
AGREEMENT_SECONDS = 300
# A cache that says it holds a reply for longer is absurd.
MAX_CACHED_SECONDS = 86_400.0


class UpstreamClock:
    """UNIX seconds on the upstream's clock: a steady time plus an offset learnt from each reply.

    Args:
        clock: A clock whose time does not step.
        sandbox: Whether the upstream is a sandbox, whose time may be years back.
        wall: The machine's wall clock as it stands now; None where it is not known.
    """

    def __init__(self, clock: Clock, *, sandbox: bool, wall: Callable[[], float] | None = None) -> None:
        self._clock = clock
        self._sandbox = sandbox
        self._wall = wall
        self._offsets: deque[float] = deque(maxlen=SAMPLES)
        self.offset_seconds = 0.0

    def now(self) -> float:
        """Return UNIX seconds on the upstream's clock."""
        return self._clock.now() + self.offset_seconds

    def learn(self, headers: Mapping[str, str]) -> None:
        """Take the time from one reply's headers; headers without a usable time change nothing."""
        server_time = self._read_time(headers)
        if server_time is None:
            return
        offset = server_time - self._clock.now()
        if self._sandbox:
            self.offset_seconds = offset
        elif abs(offset) <= MAX_CORRECTION_SECONDS or self._is_confirmed(server_time):
            self._offsets.append(offset)
            newest = max(self._offsets)
            self.offset_seconds = newest if abs(newest) >= MIN_CORRECTION_SECONDS else 0.0

    def _is_confirmed(self, server_time: float) -> bool:
        """Return whether the machine's wall clock has been set to the upstream's time since the start."""
        return self._wall is not None and abs(self._wall() - server_time) <= AGREEMENT_SECONDS

    def _read_time(self, headers: Mapping[str, str]) -> float | None:
        try:
            if self._sandbox:
                return float(headers[SANDBOX_NOW_HEADER])
            # A cache passes the origin's Date on and says how long it has had the reply.
            return parsedate_to_datetime(headers["date"]).timestamp() + cached_seconds(headers)
        except (KeyError, ValueError, OverflowError):
            return None


def cached_seconds(headers: Mapping[str, str]) -> float:
    """Return for how long a cache between here and the upstream has had a reply, by its `Age` header."""
    try:
        age = float(headers["age"])
    except (KeyError, ValueError):
        return 0.0
    return age if 0 <= age <= MAX_CACHED_SECONDS else 0.0
