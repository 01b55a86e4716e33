"""Usage by API key: calls, rows and bytes per day, and calls per calendar month for monthly limits.

Requests are counted in memory and written to Redis every few seconds, so no response waits for it. Counts
that could not be written stay in memory and are written later. Without Redis each process counts separately.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import redis.asyncio
from redis.exceptions import RedisError

from coincast_chassis.clock import Clock
from coincast_chassis.observability.error_text import without_path
from coincast_chassis.observability.logs import get_logger

log = get_logger("coincast.gateway")
PREFIX = "coincast:gateway:usage:"
KEPT_DAYS = 35
# The total of a month is stored as long as the counts of its last day.
MONTH_SECONDS = (31 + KEPT_DAYS) * 86_400
FLUSH_SECONDS = 5.0
# Requests of this path neither count nor fail when a month is used up, so that a key's owner can see why it
# is refused.
UNMETERED_PATH = "/usage"
FIELDS = ("calls", "rows", "bytes")
# Entries (one per day and key) that wait for Redis. There are few keys; the bound limits memory while Redis
# is unavailable.
MAX_PENDING = 10_000
# The largest count that the contract can carry.
MAX_COUNT = 2**63 - 1


@dataclass(slots=True)
class Usage:
    """Usage of a key on one day."""

    calls: int = 0
    rows: int = 0
    bytes: int = 0

    def add(self, calls: int, rows: int, size: int) -> None:
        """Add to the figures."""
        self.calls += calls
        self.rows += rows
        self.bytes += size


class UsageRecorder:
    """Usage of all keys as seen by this process; one instance per process.

    Args:
        client: Redis, which all processes share; None counts only in this process.
        clock: Its wall time decides the UTC day that a call belongs to.
    """

    def __init__(self, client: redis.asyncio.Redis | None, clock: Clock) -> None:
        self._redis = client
        self._clock = clock
        # Usage by (day, key) that is not in Redis yet; without Redis, the usage of the last KEPT_DAYS days.
        self._pending: dict[tuple[str, str], Usage] = defaultdict(Usage)
        # Calls of all processes in `_month` by key, as of the last flush.
        self._month = ""
        self._month_calls: dict[str, int] = {}

    def record(self, key: str, *, rows: int, size: int) -> None:
        """Count an answered call of a key.

        Args:
            key: The name of the key.
            rows: Items in the response.
            size: Bytes of its body as sent.
        """
        entry = (self._today().isoformat(), key)
        if entry in self._pending or len(self._pending) < MAX_PENDING:
            self._pending[entry].add(1, rows, size)

    def month_calls(self, key: str) -> int:
        """Return the calls of a key in this calendar month (UTC).

        Calls of other processes are included with a delay of some seconds.
        """
        month = self._today().isoformat()[:7]
        known = self._month_calls.get(key, 0) if month == self._month else 0
        pending = sum(
            usage.calls
            for (day, name), usage in self._pending.items()
            if name == key and day.startswith(month)
        )
        return known + pending

    def seconds_to_next_month(self) -> float:
        """Return the seconds until the next calendar month (UTC) begins."""
        now = datetime.fromtimestamp(self._clock.now(), UTC)
        first = (now.replace(day=1, hour=0, minute=0, second=0, microsecond=0) + timedelta(days=32)).replace(
            day=1
        )
        return (first - now).total_seconds()

    async def flush(self) -> None:
        """Write the counts to Redis and read the totals of the month.

        If Redis fails, the counts stay in memory until the next flush.
        """
        if self._redis is None:
            self._forget_old_days()
            return
        taken, self._pending = self._pending, defaultdict(Usage)
        try:
            async with self._redis.pipeline(transaction=True) as pipe:
                for (day, key), usage in taken.items():
                    for field in FIELDS:
                        pipe.hincrby(PREFIX + day, f"{key}|{field}", getattr(usage, field))
                    pipe.expire(PREFIX + day, KEPT_DAYS * 86_400)
                    pipe.hincrby(PREFIX + day[:7], key, usage.calls)
                    pipe.expire(PREFIX + day[:7], MONTH_SECONDS)
                # A value in Redis that is no count refuses its own command only. The others are executed, and
                # must not be repeated.
                results = await pipe.execute(raise_on_error=False) if taken else []
        except (RedisError, OSError) as error:
            log.debug("usage_kept_in_memory", reason=without_path(error))
            for entry, usage in taken.items():
                self._pending[entry].add(usage.calls, usage.rows, usage.bytes)
            return
        if refused := sum(isinstance(result, Exception) for result in results):
            log.warning("usage_not_counted", commands=refused)
        await self._read_month()

    async def _read_month(self) -> None:
        assert self._redis is not None  # noqa: S101 - only called with Redis
        month = self._today().isoformat()[:7]
        try:
            found: Any = await self._redis.hgetall(PREFIX + month)
            self._month_calls = {name: calls for name, calls in map(_count_of, found.items()) if name}
        except (RedisError, OSError, ValueError, AttributeError) as error:
            log.debug("usage_not_read", reason=without_path(error))
            return
        self._month = month

    async def flush_forever(self) -> None:
        """Flush every few seconds until cancelled. A failure is logged and does not end the loop."""
        while True:
            try:
                await self.flush()
            except Exception:
                log.exception("usage_flush_failed")
            await asyncio.sleep(FLUSH_SECONDS)

    async def days(self, days: int) -> dict[str, dict[str, Usage]]:
        """Return the usage of the last days by key, then by day (YYYY-MM-DD).

        It adds the counts in Redis and those of this process that are not written yet.

        Args:
            days: The number of days, today included; at most 35.
        """
        wanted = [(self._today() - timedelta(days=back)).isoformat() for back in range(min(days, KEPT_DAYS))]
        found: dict[str, dict[str, Usage]] = defaultdict(lambda: defaultdict(Usage))
        for (day, key), usage in self._pending.items():
            if day in wanted:
                found[key][day].add(usage.calls, usage.rows, usage.bytes)
        for day, rows in zip(wanted, await self._stored(wanted), strict=True):
            for name, value in map(_count_of, rows.items()):
                key, _, field = name.rpartition("|")
                if field in FIELDS:
                    usage = found[key][day]
                    setattr(usage, field, getattr(usage, field) + value)
        return found

    async def _stored(self, days: list[str]) -> list[dict[bytes, bytes]]:
        if self._redis is not None:
            try:
                async with self._redis.pipeline(transaction=False) as pipe:
                    for day in days:
                        pipe.hgetall(PREFIX + day)
                    return [row if isinstance(row, dict) else {} for row in await pipe.execute()]
            except (RedisError, OSError) as error:
                log.debug("usage_not_read", reason=without_path(error))
        return [{} for _ in days]

    def _forget_old_days(self) -> None:
        oldest = (self._today() - timedelta(days=KEPT_DAYS)).isoformat()
        for entry in [each for each in self._pending if each[0] <= oldest]:
            del self._pending[entry]

    def _today(self) -> Any:
        return datetime.fromtimestamp(self._clock.now(), UTC).date()


def _count_of(item: tuple[bytes, bytes]) -> tuple[str, int]:
    """Return the name and the count of a field in Redis; an empty name if it is no count."""
    try:
        name, count = item[0].decode(), int(item[1])
    except (ValueError, AttributeError):
        return "", 0
    return (name, count) if 0 <= count <= MAX_COUNT else ("", 0)
