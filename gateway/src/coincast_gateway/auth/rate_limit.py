"""Requests a minute, for keys and addresses: one bucket in Redis for all processes, taken in small lots."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import redis.asyncio
from redis.exceptions import RedisError

from coincast_chassis.clock import Clock
from coincast_gateway import metrics

WINDOW_SECONDS = 60.0
SCRIPT = Path(__file__).with_name("acquire.lua").read_text(encoding="utf-8")
PREFIX = "coincast:gateway:limit:"
# A lot is this share of the limit: one call to Redis for so many requests, no more than that lies idle.
LEASE_SHARE = 0.05
LEASE_SECONDS = 5.0
MAX_SUBJECTS = 50_000
# How long Redis is left alone after it failed; meanwhile each process counts for itself.
REST_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Grant:
    """What a look into the bucket gave."""

    granted: int
    left: int
    wait_seconds: float
    full_seconds: float


def take(full_at: float, now: float, *, limit: int, wanted: int) -> tuple[float, Grant]:
    """GCRA, as acquire.lua does it: the moment at which the bucket is full again, and what was granted."""
    interval = WINDOW_SECONDS / limit
    full_at = max(full_at, now)
    room = math.floor((now + WINDOW_SECONDS - full_at) / interval + 1e-6)
    granted = max(0, min(room, wanted))
    full_at += granted * interval
    wait = max(0.0, full_at + interval - now - WINDOW_SECONDS)
    return full_at, Grant(granted, room - granted, wait, full_at - now)


@dataclass(slots=True)
class TokenLease:
    """What this process holds for one subject: tokens of a lot, and its own bucket while Redis is gone."""

    tokens: int = 0
    good_until: float = 0.0
    left: int = 0
    full_until: float = 0.0
    full_at: float = 0.0


class Limiter:
    """One per process. However many there are, together they keep the limit while Redis answers."""

    def __init__(
        self, client: redis.asyncio.Redis | None, clock: Clock, *, max_subjects: int = MAX_SUBJECTS
    ) -> None:
        self._script = client.register_script(SCRIPT) if client is not None else None
        self._clock = clock
        self._purses: OrderedDict[str, TokenLease] = OrderedDict()
        self._max_subjects = max_subjects
        self._rest_until = 0.0

    def __len__(self) -> int:
        return len(self._purses)

    def try_acquire(self, subject: str) -> TokenLease | None:
        """A token that this process holds already, or None: then `acquire`."""
        purse = self._purses.get(subject)
        if purse is None or purse.tokens <= 0 or purse.good_until < self._clock.monotonic():
            return None
        purse.tokens -= 1
        return purse

    async def acquire(self, subject: str, limit: int) -> tuple[TokenLease, float]:
        """(purse, seconds to wait): 0 where a token was granted and spent."""
        purse = self._purse(subject)
        wanted = max(1, round(limit * LEASE_SHARE))
        taken = await self._take(subject, purse, limit, wanted)
        now = self._clock.monotonic()
        purse.left, purse.full_until = taken.left, now + taken.full_seconds
        if taken.granted == 0:
            purse.tokens = 0
            return purse, max(taken.wait_seconds, 0.001)
        purse.tokens, purse.good_until = taken.granted - 1, now + LEASE_SECONDS
        return purse, 0.0

    async def _take(self, subject: str, purse: TokenLease, limit: int, wanted: int) -> Grant:
        now = self._clock.monotonic()
        if self._script is not None and now >= self._rest_until:
            try:
                window_ms = int(WINDOW_SECONDS * 1000)
                row = await self._script(keys=[PREFIX + subject], args=[limit, window_ms, wanted])
                return Grant(int(row[0]), int(row[1]), row[2] / 1000, row[3] / 1000)
            except (RedisError, OSError, TypeError, ValueError, IndexError):  # away, or answers garbage
                self._rest_until = now + REST_SECONDS
                metrics.LIMITS_LOCAL.inc()
        purse.full_at, taken = take(purse.full_at, now, limit=limit, wanted=wanted)
        return taken

    def _purse(self, subject: str) -> TokenLease:
        purse = self._purses.get(subject)
        if purse is None:
            purse = self._purses[subject] = TokenLease()
            if len(self._purses) > self._max_subjects:
                self._purses.popitem(last=False)
        else:
            self._purses.move_to_end(subject)
        return purse


def limit_headers(purse: TokenLease, limit: int, now: float) -> list[tuple[bytes, bytes]]:
    """RateLimit and RateLimit-Policy, as the IETF's draft words them."""
    left, reset = purse.left + purse.tokens, max(0, math.ceil(purse.full_until - now))
    policy = b'"minute";q=%d;w=%d' % (limit, WINDOW_SECONDS)
    return [(b"ratelimit-policy", policy), (b"ratelimit", b'"minute";r=%d;t=%d' % (left, reset))]
