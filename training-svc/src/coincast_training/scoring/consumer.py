"""Copy served forecasts from the Redis stream to disk, and acknowledge them only after the write."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from coincast_chassis.errors import Unavailable
from coincast_modelkit.ledger import STREAM_FIELD, STREAM_KEY, LedgerEntry
from coincast_training import metrics
from coincast_training.scoring.parquet import FORECAST_SCHEMA, entry_row, write_rows

log = structlog.get_logger(__name__)
GROUP = "training"
BATCH = 2000
KEPT_ACKNOWLEDGED = 10_000
Message = tuple[str, dict[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Lag:
    """Entries that are in the stream and not on disk; `entries` is None if Redis cannot count them."""

    entries: int | None
    seconds: float | None


class LedgerConsumer:
    """Consume the stream as a member of its group, beginning with entries delivered but not acknowledged."""

    def __init__(self, redis: Redis, folder: Path, *, consumer: str) -> None:
        self._redis, self._incoming, self._consumer = redis, folder / "incoming", consumer
        self._joined = False

    async def take(self) -> int:
        """Copy one batch and return its size. Raises `Unavailable` if Redis does not answer."""
        try:
            await self._join()
            messages = await self._read("0") or await self._read(">")
            if not messages:
                return 0
            rows = [row for message in messages if (row := _row(message)) is not None]
            if rows:
                path = self._incoming / f"{messages[0][0]}_{messages[-1][0]}.parquet"
                await asyncio.to_thread(write_rows, path, rows, FORECAST_SCHEMA)
            await self._redis.xack(STREAM_KEY, GROUP, *(stream_id for stream_id, _ in messages))
        except ResponseError as error:
            self._joined = False  # the stream was deleted; create the group again
            raise Unavailable(f"The ledger stream refused: {error}", retry_after_seconds=2) from error
        except (RedisError, OSError) as error:
            raise Unavailable(f"The ledger stream cannot be read: {error}", retry_after_seconds=2) from error
        metrics.LEDGER_STORED.inc(len(rows))
        return len(messages)

    async def _join(self) -> None:
        if self._joined:
            return
        try:
            await self._redis.xgroup_create(STREAM_KEY, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        self._joined = True

    async def _read(self, start: str) -> list[Message]:
        reply: Any = await self._redis.xreadgroup(GROUP, self._consumer, {STREAM_KEY: start}, count=BATCH)
        streams = reply.values() if isinstance(reply, dict) else [messages for _, messages in reply or []]
        found = [message for messages in streams for message in messages]
        return [(_text(message[0]), message[1]) for message in _flat(found)]

    async def lag(self) -> Lag:
        """Return how far the disk is behind. Raises `Unavailable`."""
        try:
            await self._join()
            groups = await self._redis.xinfo_groups(STREAM_KEY)
            group = next(g for g in groups if _text(g["name"]) == GROUP)
            unread = group.get("lag")  # nil after an entry that had not been read was deleted
            behind = None if unread is None else int(unread) + int(group["pending"])
            if behind == 0:
                return Lag(0, None)
            waiting_since = await self._oldest_waiting(_text(group["last-delivered-id"]))
            if waiting_since is None:
                return Lag(behind, None)
            seconds, microseconds = await self._redis.time()
            return Lag(behind, max(0.0, seconds + microseconds / 1e6 - waiting_since))
        except (RedisError, OSError, StopIteration) as error:
            raise Unavailable(f"The ledger stream cannot be read: {error}") from error

    async def _oldest_waiting(self, last_delivered: str) -> float | None:
        """Return the UNIX time (Redis's clock) at which the oldest unacknowledged entry was appended."""
        pending: Any = await self._redis.xpending(STREAM_KEY, GROUP)
        first = pending["min"] if pending["pending"] else None
        if first is None:
            following: Any = await self._redis.xrange(STREAM_KEY, min=f"({last_delivered}", count=1)
            first = following[0][0] if following else None
        return None if first is None else int(_text(first).split("-")[0]) / 1000

    async def trim(self) -> None:
        """Trim entries that are on disk, except the newest ten thousand.

        Entries that are not on disk are never trimmed, so none are while their number is unknown.
        """
        waiting = (await self.lag()).entries
        if waiting is None:
            log.info("ledger_not_trimmed", reason="Redis cannot tell how many entries wait")
            return
        try:
            await self._redis.xtrim(STREAM_KEY, maxlen=KEPT_ACKNOWLEDGED + waiting, approximate=True)
        except (RedisError, OSError) as error:
            raise Unavailable(f"The ledger stream cannot be trimmed: {error}") from error


def _flat(found: list[Any]) -> list[Any]:
    """Flatten a stream's messages: RESP3 nests them one level deeper than RESP2."""
    if found and isinstance(found[0], list) and found[0] and isinstance(found[0][0], list | tuple):
        return [message for inner in found for message in inner]
    return found


def _row(message: Message) -> dict[str, object] | None:
    """Return the entry as a row; an unreadable one is counted, logged and dropped."""
    stream_id, fields = message
    try:
        entry = LedgerEntry.from_json(fields[STREAM_FIELD.encode()])
        return entry_row(stream_id, entry)
    except (ValueError, KeyError, TypeError) as error:
        metrics.LEDGER_REFUSED.inc()
        log.warning("ledger_entry_refused", stream_id=stream_id, error=str(error))
        return None


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
