"""Keys, plans and the per-minute limit, with the codes that CoinGecko answers with."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from coincast_sandbox.http.errors import TOO_MANY, RefusalError

DEMO_NAMES = ("x-cg-demo-api-key", "x_cg_demo_api_key")
PRO_NAMES = ("x-cg-pro-api-key", "x_cg_pro_api_key")
MONTHLY_CREDITS = {"keyless": 10_000, "demo": 10_000, "pro": 500_000}


@dataclass(frozen=True, slots=True)
class Plan:
    """What the caller has paid for.

    No keys given means that any key is good; `reach_days` 0 is without end.
    """

    name: str = "keyless"
    keys: frozenset[str] = frozenset()
    reach_days: int = 365

    def check(self, headers: Mapping[str, str], query: Mapping[str, str]) -> None:
        """Raises RefusalError for a key of the wrong kind, a missing one, or one that is not known."""
        demo = headers.get(DEMO_NAMES[0]) or query.get(DEMO_NAMES[1])
        pro = headers.get(PRO_NAMES[0]) or query.get(PRO_NAMES[1])
        if pro and self.name != "pro":
            raise RefusalError(
                400,
                2,
                "If you are using Pro API key, please change your root URL to pro-api.coingecko.com",
                10010,
            )
        if demo and self.name == "pro":
            raise RefusalError(
                400,
                2,
                "If you are using Demo API key, please change your root URL to api.coingecko.com",
                10011,
            )
        key = pro if self.name == "pro" else demo
        if not key and self.name != "keyless":
            raise RefusalError(401, 1, "API Key Missing", 10002)
        if key and self.keys and key not in self.keys:
            raise RefusalError(401, 1, "Invalid API Key", 10002)

    def check_reach(self, from_seconds: float, now: float) -> None:
        """Raises RefusalError where a request goes further back than the plan allows; an hour of grace is
        given.
        """
        if self.name != "pro" and self.reach_days and now - from_seconds > self.reach_days * 86400 + 3600:
            message = (
                "Your request exceeds the allowed time range. Public API users are limited to querying "
                f"historical data within the past {self.reach_days} days."
            )
            raise RefusalError(401, 2, message, 10012)


class MinuteLimit:
    """Counts calls over a sliding minute; 0 calls a minute means no limit."""

    def __init__(self, per_minute: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self._monotonic = monotonic
        self._accepted: deque[float] = deque()

    def take(self) -> None:
        """Counts one call; raises RefusalError (429) where the minute is full. Refused calls do not count."""
        now = self._monotonic()
        while self._accepted and self._accepted[0] <= now - 60:
            self._accepted.popleft()
        if self.per_minute and len(self._accepted) >= self.per_minute:
            raise RefusalError(429, 1, TOO_MANY)
        self._accepted.append(now)

    def retry_after_seconds(self) -> int:
        """Whole seconds until a call is free again."""
        if not self._accepted:
            return 0
        return max(int(self._accepted[0] + 60 - self._monotonic()) + 1, 1)


class CallCounts:
    """How often each path was called, what it answered, and the busiest sliding minute."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self.clear()

    def clear(self) -> None:
        """Back to zero."""
        self.paths: dict[str, int] = {}
        self.statuses: dict[str, int] = {}
        self.peak_per_minute = 0
        self._recent: deque[float] = deque()

    def arrived(self, path: str) -> None:
        """A call for a path below /api/v3."""
        now = self._monotonic()
        self.paths[path] = self.paths.get(path, 0) + 1
        self._recent.append(now)
        while self._recent[0] <= now - 60:
            self._recent.popleft()
        self.peak_per_minute = max(self.peak_per_minute, len(self._recent))

    def answered(self, status: int) -> None:
        """Its answer's status."""
        self.statuses[str(status)] = self.statuses.get(str(status), 0) + 1

    def report(self) -> dict[str, object]:
        """As `GET /sandbox/calls` gives it."""
        return {
            "total": sum(self.paths.values()),
            "paths": self.paths,
            "statuses": self.statuses,
            "peak_per_minute": self.peak_per_minute,
        }
