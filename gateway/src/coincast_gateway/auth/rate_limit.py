"""Rate limiter for keys and addresses: one sliding window in Redis for all processes.

No window of 60 s grants more than the limit, over all processes and over a restart of Redis: a process
remembers what it granted, and reports it to a Redis that does not know it. While Redis is away each process
counts for itself against its part of the limit, and the header says which.
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
GRAIN_SECONDS = 0.5
SCRIPT = Path(__file__).with_name("acquire.lua").read_text(encoding="utf-8")
PREFIX = "coincast:gateway:limit:"
EPOCH, SETTLING = f"{PREFIX}:epoch", f"{PREFIX}:settling"
# A busy subject's requests are leased: one call to Redis takes this share of the limit. Leased requests are
# spent within a second or given back; they count in a window that is a second longer.
LEASE_SHARE = 0.05
LEASE_SECONDS = 1.0
# Below this limit each request is one call, so that no part of a small limit lies idle in a process.
LEAST_LEASED_LIMIT = 600
MAX_SUBJECTS = 50_000
# How long Redis is not used after a failure; meanwhile each process counts separately.
REST_SECONDS = 1.0
# How long a Redis that came back empty waits for what the processes granted before.
SETTLE_SECONDS = 2.0
# How often a process without requests looks whether Redis came back empty.
WATCH_SECONDS = 0.5
# Grains of the longest window and its lease; older ones lie in no window.
MAX_UNREPORTED_GRAINS = math.ceil((WINDOW_SECONDS + LEASE_SECONDS) / GRAIN_SECONDS) + 2
# Replies of the script; a third one, 2, says that it grants nothing until the windows are settled.
COUNTED, UNKNOWN_EPOCH = 0, 1


@dataclass(frozen=True, slots=True)
class Grant:
    """The result of a request to the window."""

    granted: int
    left: int
    wait_seconds: float
    full_seconds: float


class WindowCounts:
    """Requests of one subject by grains of time; the rule of acquire.lua on a process's monotonic clock."""

    # One exists for each remembered key or address, so they are kept small.
    __slots__ = ("_grains", "_window")

    def __init__(self, window_seconds: float = WINDOW_SECONDS) -> None:
        self._window = window_seconds
        self._grains: dict[int, int] = {}

    def add(self, now: float, count: int) -> None:
        """Count requests that were granted now; below 0 those that were not made."""
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
    """Tokens that this process holds and has granted for one subject."""

    tokens: int = 0
    leased_at: float = 0.0
    good_until: float = 0.0
    # Requests a minute that `left` and the policy refer to: the whole limit, or this process's part of it.
    limit: int = 0
    left: int = 0
    full_until: float = 0.0
    # Requests that this process granted in the window, and those among them that Redis has not counted yet.
    counts: WindowCounts = field(default_factory=WindowCounts)
    unreported: dict[int, int] | None = None
    # The last answer of Redis: when it came, what this process had granted by then, and what all had left.
    answered_at: float = -math.inf
    own_then: int = 0
    left_then: int = 0
    # Held while a lease is taken: of callers that come together each would take one, and all but one be lost.
    renewing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def note_unreported(self, at: float, count: int) -> None:
        """Note requests that Redis must count, or subtract where below 0; the oldest are dropped first."""
        found = self.unreported = self.unreported or {}
        grain = math.floor(at / GRAIN_SECONDS)
        found[grain] = found.get(grain, 0) + count
        if len(found) > MAX_UNREPORTED_GRAINS:
            del found[min(found)]


class Limiter:
    """One per process.

    Args:
        client: Redis, which all processes share; None counts only in this process.
        clock: Its monotonic time measures windows and leases.
        workers: Processes of this gateway, among which the limit is divided while Redis is away.
        max_subjects: Keys and addresses remembered at most.
        window_seconds: The window; shorter in tests.
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
        """Report to a Redis that came back empty even without new requests; runs until cancelled."""
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
        """Return the lease after a token that this process already holds was spent; None: call `acquire`."""
        lease = self._leases.get(subject)
        return lease if lease is not None and self._spend(lease) else None

    def _spend(self, lease: TokenLease) -> bool:
        """Spend a token of the lease; False where it has none or has ended."""
        if lease.tokens <= 0 or lease.good_until < self._clock.monotonic():
            return False
        lease.tokens -= 1
        return True

    async def acquire(self, subject: str, limit: int) -> tuple[TokenLease, float]:
        """Return the lease, and the seconds to wait: 0 where a request was granted and counted."""
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
        """Request tokens and spend one of them; see `acquire`."""
        if lease.tokens > 0:
            # The lease ended before it was spent.
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
            except (RedisError, OSError, TypeError, ValueError, IndexError):  # away, or answers garbage
                self._rest_until = self._clock.monotonic() + REST_SECONDS
                metrics.LIMITS_LOCAL.inc()
            else:
                if taken is not None:
                    lease.limit = limit
                    return taken
        return self._grant_locally(lease, limit, wanted)

    def _grant_locally(self, lease: TokenLease, limit: int, wanted: int) -> Grant:
        """Grant from this process's share of the limit, and of what was left when Redis last answered."""
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
        """Return what Redis grants; None where it came back empty and does not know all counts yet."""
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
        """Report to a Redis that came back empty what this process granted in the window."""
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
        """Run the script; what it could not count is reported the next time."""
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
    """Return RateLimit and RateLimit-Policy in the form of the IETF draft.

    The policy names this process's part of the limit while it counts alone.
    """
    left, reset = lease.left + lease.tokens, max(0, math.ceil(lease.full_until - now))
    policy = b'"minute";q=%d;w=%d' % (lease.limit or limit, WINDOW_SECONDS)
    return [(b"ratelimit-policy", policy), (b"ratelimit", b'"minute";r=%d;t=%d' % (left, reset))]
