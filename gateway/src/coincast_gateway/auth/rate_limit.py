"""Rate limiter for keys and addresses: one sliding window in Redis for all processes.

In no window of 60 s do all processes together grant more than the limit, even if Redis restarts: each process
remembers the requests that it granted, and reports them to a Redis that has lost its data. While Redis is
unavailable, each process counts separately against its share of the limit, which the RateLimit-Policy header
then states.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from pathlib import Path

import redis.asyncio
from redis.exceptions import RedisError

from coincast_chassis.clock import Clock
from coincast_gateway import metrics

WINDOW_SECONDS = 60.0
# Requests are counted in intervals of this length ("grains").
GRAIN_SECONDS = 0.5
SCRIPT = Path(__file__).with_name("acquire.lua").read_text(encoding="utf-8")
PREFIX = "coincast:gateway:limit:"
EPOCH, SETTLING = f"{PREFIX}:epoch", f"{PREFIX}:settling"
# The subject of a limit is a key or an address. A process leases requests of a busy subject: one call to
# Redis takes this share of the limit. It grants leased requests within a second or gives them back;
# therefore they count in a window that is a second longer.
LEASE_SHARE = 0.05
LEASE_SECONDS = 1.0
# Below this limit each request is one call to Redis, so that no process holds unused requests of a small
# limit.
LEAST_LEASED_LIMIT = 600
MAX_SUBJECTS = 50_000
# How long Redis is not used after a failure. Meanwhile each process counts separately.
REST_SECONDS = 1.0
# How long a Redis that lost its data waits for the reports of all processes before it grants requests.
SETTLE_SECONDS = 2.0
# How often a process checks whether Redis lost its data, also while it has no requests.
WATCH_SECONDS = 0.5
# The grains of the longest window and its lease. Older grains are in no window.
MAX_UNREPORTED_GRAINS = math.ceil((WINDOW_SECONDS + LEASE_SECONDS) / GRAIN_SECONDS) + 2
# States that the script returns. A third one, 2, means that it grants nothing until all processes have
# reported.
COUNTED, UNKNOWN_EPOCH = 0, 1


@dataclass(frozen=True, slots=True)
class Grant:
    """The result of asking a window for requests."""

    granted: int
    # Requests that the window still allows.
    left: int
    # Seconds until the next request is allowed; 0 if one is allowed now.
    wait_seconds: float
    # Seconds until the whole limit is free again.
    full_seconds: float


class WindowCounts:
    """Sliding window of one subject in this process: requests by grain of the monotonic clock.

    It applies the same rule as acquire.lua.
    """

    # There is one for each remembered key or address, so they must be small.
    __slots__ = ("_grains", "_window")

    def __init__(self, window_seconds: float = WINDOW_SECONDS) -> None:
        self._window = window_seconds
        self._grains: dict[int, int] = {}

    def add(self, now: float, count: int) -> None:
        """Count requests at `now`; a negative count takes back requests that were granted and not made."""
        grain = math.floor(now / GRAIN_SECONDS)
        self._grains[grain] = max(0, self._grains.get(grain, 0) + count)

    def grant(self, now: float, *, limit: int, wanted: int) -> Grant:
        """Grant and count up to `wanted` requests.

        Args:
            now: Monotonic seconds.
            limit: Requests a window.
            wanted: Requests to grant at most.
        """
        used = self.used(now)
        granted = max(0, min(limit - used, wanted))
        if granted:
            self.add(now, granted)
        used += granted
        wait = full = 0.0
        freed, needed = 0, used - limit + 1
        for grain, count in sorted(self._grains.items()):
            freed += count
            full = (grain + 1) * GRAIN_SECONDS + self._window - now
            if not wait and 0 < needed <= freed:
                wait = full
        return Grant(granted, max(0, limit - used), wait, full)

    def used(self, now: float) -> int:
        """Return the requests in the window."""
        self._expire(now)
        return sum(self._grains.values())

    def grains(self, now: float) -> dict[int, int]:
        """Return the requests in the window by grain."""
        self._expire(now)
        return {grain: count for grain, count in self._grains.items() if count}

    def _expire(self, now: float) -> None:
        gone = [grain for grain in self._grains if (grain + 1) * GRAIN_SECONDS <= now - self._window]
        for grain in gone:
            del self._grains[grain]


@dataclass(slots=True)
class TokenLease:
    """The leased tokens of one subject, and the requests that this process granted to it.

    A token is the permission for one request. Times are monotonic seconds.
    """

    # Tokens that are leased and not spent, when they were leased, and until when they may be spent.
    tokens: int = 0
    leased_at: float = 0.0
    good_until: float = 0.0
    # Requests a minute that `left` and the RateLimit-Policy header refer to: the whole limit, or the share of
    # this process while Redis is unavailable.
    limit: int = 0
    left: int = 0
    full_until: float = 0.0
    # Requests that this process granted in the window, and by grain those that Redis has not counted yet.
    counts: WindowCounts = field(default_factory=WindowCounts)
    unreported: dict[int, int] | None = None
    # The last answer of Redis: its time, the requests that this process had granted in the window by then,
    # and the requests that were left for all processes.
    answered_at: float = -math.inf
    own_then: int = 0
    left_then: int = 0
    # Held while tokens are leased. Without it, each of several concurrent callers would lease tokens, and all
    # leases but the last would be lost.
    renewing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def note_unreported(self, at: float, count: int) -> None:
        """Record requests that Redis must still count, or take back if negative; drop the oldest if too many.

        Args:
            at: Monotonic seconds at which they were granted.
            count: The number of requests.
        """
        found = self.unreported = self.unreported or {}
        grain = math.floor(at / GRAIN_SECONDS)
        found[grain] = found.get(grain, 0) + count
        if len(found) > MAX_UNREPORTED_GRAINS:
            del found[min(found)]


class Limiter:
    """Rate limiter of all keys and addresses; one per process.

    Args:
        client: Redis, which all processes share; with None each process counts separately.
        clock: Its monotonic time measures windows and leases.
        workers: Processes of this gateway, among which the limit is divided while Redis is unavailable.
        max_subjects: The number of keys and addresses that are remembered.
        window_seconds: The length of the window; shorter in tests.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis | None,
        clock: Clock,
        *,
        workers: int = 1,
        max_subjects: int = MAX_SUBJECTS,
        window_seconds: float = WINDOW_SECONDS,
    ) -> None:
        self._client = client
        self._window = window_seconds
        self._script = client.register_script(SCRIPT) if client is not None else None
        self._clock = clock
        self._workers = workers
        self._leases: OrderedDict[str, TokenLease] = OrderedDict()
        self._max_subjects = max_subjects
        self._rest_until = 0.0
        # The epoch of the Redis that this process last talked to.
        self._epoch = ""
        self._reporting = asyncio.Lock()

    async def watch(self) -> None:
        """Report to a Redis that lost its data, also while there are no requests; run until cancelled."""
        while self._client is not None:
            await asyncio.sleep(WATCH_SECONDS)
            if not self._epoch or self._clock.monotonic() < self._rest_until:
                continue
            try:
                epoch = await self._client.get(EPOCH)
                if epoch is None or _text(epoch) != self._epoch:
                    await self._report_all()
            except (RedisError, OSError, TypeError, ValueError, IndexError):
                self._rest_until = self._clock.monotonic() + REST_SECONDS

    def __len__(self) -> int:
        return len(self._leases)

    def try_acquire(self, subject: str) -> TokenLease | None:
        """Spend a token that this process already holds.

        Returns:
            The lease, or None if it has no token; then call `acquire`.
        """
        lease = self._leases.get(subject)
        return lease if lease is not None and self._spend(lease) else None

    def _spend(self, lease: TokenLease) -> bool:
        """Spend a token of the lease; return False if it has none or has expired."""
        if lease.tokens <= 0 or lease.good_until < self._clock.monotonic():
            return False
        lease.tokens -= 1
        return True

    async def acquire(self, subject: str, limit: int) -> tuple[TokenLease, float]:
        """Acquire permission for one request, with a call to Redis if no token is held.

        Args:
            subject: The key or address.
            limit: Its requests in a window.

        Returns:
            The lease, and the seconds to wait: 0 if the request was granted and counted.
        """
        lease = self._lease(subject)
        if limit < LEAST_LEASED_LIMIT:
            return await self._renew(subject, lease, limit, 1)
        async with lease.renewing:
            if self._spend(lease):
                return lease, 0.0
            return await self._renew(subject, lease, limit, max(1, round(limit * LEASE_SHARE)))

    async def _renew(
        self, subject: str, lease: TokenLease, limit: int, wanted: int
    ) -> tuple[TokenLease, float]:
        """Lease tokens and spend one of them; the result is that of `acquire`."""
        if lease.tokens > 0:
            # The lease expired with unspent tokens, which are given back.
            lease.counts.add(lease.leased_at, -lease.tokens)
            lease.note_unreported(lease.leased_at, -lease.tokens)
            lease.tokens = 0
        taken = await self._grant(subject, lease, limit, wanted)
        now = self._clock.monotonic()
        lease.left, lease.full_until = taken.left, now + taken.full_seconds
        if taken.granted == 0:
            return lease, max(taken.wait_seconds, 0.001)
        lease.tokens, lease.leased_at, lease.good_until = taken.granted - 1, now, now + LEASE_SECONDS
        return lease, 0.0

    async def _grant(self, subject: str, lease: TokenLease, limit: int, wanted: int) -> Grant:
        if self._script is not None and self._clock.monotonic() >= self._rest_until:
            try:
                taken = await self._from_redis(subject, lease, limit, wanted)
            # Redis is unavailable, or its reply is malformed.
            except (RedisError, OSError, TypeError, ValueError, IndexError):
                self._rest_until = self._clock.monotonic() + REST_SECONDS
                metrics.LIMITS_LOCAL.inc()
            else:
                if taken is not None:
                    lease.limit = limit
                    return taken
        return self._grant_locally(lease, limit, wanted)

    def _grant_locally(self, lease: TokenLease, limit: int, wanted: int) -> Grant:
        """Grant requests while Redis is unavailable.

        The limit is this process's share of the whole limit. While the last answer of Redis is younger than
        the window, it is also its share of the requests that were left then.
        """
        now = self._clock.monotonic()
        share = lease.limit = max(1, limit // self._workers)
        since = now - lease.answered_at
        if since < self._window:
            share = min(share, lease.own_then + lease.left_then // self._workers)
        taken = lease.counts.grant(now, limit=share, wanted=min(wanted, lease.limit))
        if taken.granted and self._script is not None:
            lease.note_unreported(now, taken.granted)
        if not taken.granted and not taken.wait_seconds:
            return replace(taken, wait_seconds=self._window - since)
        return taken

    async def _from_redis(self, subject: str, lease: TokenLease, limit: int, wanted: int) -> Grant | None:
        """Return what Redis grants; None if it lost its data and still waits for reports."""
        reply = await self._run(subject, lease, limit, wanted)
        if reply[4] == UNKNOWN_EPOCH:
            await self._report_all()
            reply = await self._run(subject, lease, limit, wanted)
        self._epoch = reply[5]
        if reply[4] != COUNTED:
            return None
        now = self._clock.monotonic()
        if reply[0]:
            lease.counts.add(now, reply[0])
        lease.answered_at, lease.own_then, lease.left_then = now, lease.counts.used(now), reply[1]
        return Grant(reply[0], reply[1], reply[2] / 1000, reply[3] / 1000)

    async def _report_all(self) -> None:
        """Report all requests that this process granted in the window, if Redis lost its data."""
        async with self._reporting:
            probe = TokenLease()
            reply = await self._run(":", probe, 1, 0)
            if reply[4] != UNKNOWN_EPOCH:
                return
            self._epoch = reply[5]
            for subject, lease in list(self._leases.items()):
                now = self._clock.monotonic()
                counted = lease.counts.grains(now)
                if counted:
                    lease.unreported = counted
                    await self._run(subject, lease, max(1, lease.limit), 0)

    async def _run(
        self, subject: str, lease: TokenLease, limit: int, wanted: int
    ) -> tuple[int, int, int, int, int, str]:
        """Run the script with the unreported requests; those that it could not count are reported next time.

        Returns:
            Requests granted and left, milliseconds until the next one and until all are free, state, epoch.
        """
        if self._script is None:
            raise ValueError("no Redis")
        now = self._clock.monotonic()
        window = self._window + (LEASE_SECONDS if limit >= LEAST_LEASED_LIMIT else 0.0)
        report, lease.unreported = lease.unreported or {}, None
        ages = ((now - (grain + 1) * GRAIN_SECONDS, count) for grain, count in report.items())
        pairs = [part for age, count in ages if age < window for part in (max(0, int(age * 1000)), count)]
        times = [int(window * 1000), int(GRAIN_SECONDS * 1000)]
        args: list[str | int] = [limit, *times, wanted, self._epoch, int(SETTLE_SECONDS * 1000), *pairs]
        state = UNKNOWN_EPOCH
        try:
            row = await self._script(keys=[f"{PREFIX}{subject}:window", EPOCH, SETTLING], args=args)
            granted, left, wait, full, state = (int(part) for part in row[:5])
            epoch = _text(row[5])
        finally:
            if state == UNKNOWN_EPOCH:
                for grain, count in report.items():
                    lease.note_unreported(grain * GRAIN_SECONDS, count)
        return granted, left, wait, full, state, epoch

    def _lease(self, subject: str) -> TokenLease:
        lease = self._leases.get(subject)
        if lease is None:
            lease = self._leases[subject] = TokenLease(counts=WindowCounts(self._window))
            if len(self._leases) > self._max_subjects:
                self._leases.popitem(last=False)
        else:
            self._leases.move_to_end(subject)
        return lease


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def limit_headers(lease: TokenLease, limit: int, now: float) -> list[tuple[bytes, bytes]]:
    """Return the headers RateLimit and RateLimit-Policy as the IETF draft defines them.

    Args:
        lease: The lease of the caller.
        limit: Its requests a minute. While Redis is unavailable the share of this process is stated instead.
        now: Monotonic seconds.
    """
    left, reset = lease.left + lease.tokens, max(0, math.ceil(lease.full_until - now))
    policy = b'"minute";q=%d;w=%d' % (lease.limit or limit, WINDOW_SECONDS)
    return [(b"ratelimit-policy", policy), (b"ratelimit", b'"minute";r=%d;t=%d' % (left, reset))]
