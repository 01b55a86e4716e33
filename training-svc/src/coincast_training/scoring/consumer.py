"""Copy served forecasts from the Redis stream to disk, and acknowledge them after the write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from coincast_chassis.errors import Unavailable
from coincast_chassis.observability.error_text import without_path
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
    """The lag of the disk behind the stream.

    Attributes:
        entries: Number of entries that are not on disk yet; None if Redis cannot count them.
        seconds: Age of the oldest of them; None if there is none, or if it is unknown.
    """

    entries: int | None
    seconds: float | None


class StreamConsumer:
    """Consume a stream as a member of a group, first the entries that were delivered but not acknowledged."""

    def __init__(
        self,
        redis: Redis,
        stream_key: str,
        store: Callable[[Sequence[Message]], None],
        *,
        consumer: str,
        keep_acknowledged: int = KEPT_ACKNOWLEDGED,
    ) -> None:
        """Create the consumer.

        Args:
            redis: Client of the server with the stream.
            stream_key: Key of the stream.
            store: Writes messages to disk. It runs in a thread, may get a message twice, and may raise
                OSError.
            consumer: Name of this member of the group.
            keep_acknowledged: Approximate number of entries on disk that stay in the stream.
        """
        self._redis, self._stream_key, self._store, self._consumer = redis, stream_key, store, consumer
        self._keep_acknowledged = keep_acknowledged
        self._joined = False

    async def take(self) -> int:
        """Copy one batch to disk and return its size.

        Raises:
            Unavailable: Redis does not answer, or the batch cannot be written.
        """
        try:
            await self._join()
            messages = await self._read("0") or await self._read(">")
            if not messages:
                return 0
            await asyncio.to_thread(self._store, messages)
            await self._redis.xack(self._stream_key, GROUP, *(stream_id for stream_id, _ in messages))
        except ResponseError as error:
            self._joined = False  # the stream was deleted; create the group again
            raise Unavailable(
                f"The ledger stream returned an error: {error}", retry_after_seconds=2
            ) from error
        except (RedisError, OSError) as error:
            raise Unavailable(
                f"The ledger stream cannot be read: {without_path(error)}", retry_after_seconds=2
            ) from error
        return len(messages)

    async def _join(self) -> None:
        if self._joined:
            return
        try:
            await self._redis.xgroup_create(self._stream_key, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        self._joined = True

    async def _read(self, start: str) -> list[Message]:
        reply: Any = await self._redis.xreadgroup(
            GROUP, self._consumer, {self._stream_key: start}, count=BATCH
        )
        streams = reply.values() if isinstance(reply, dict) else [messages for _, messages in reply or []]
        found = [message for messages in streams for message in messages]
        return [(_text(message[0]), message[1]) for message in _flat(found)]

    async def lag(self) -> Lag:
        """Return the lag of the disk behind the stream.

        Raises:
            Unavailable: The stream cannot be read.
        """
        try:
            await self._join()
            groups = await self._redis.xinfo_groups(self._stream_key)
            group = next(g for g in groups if _text(g["name"]) == GROUP)
            unread = group.get("lag")  # nil if an entry was deleted before it was read
            behind = None if unread is None else int(unread) + int(group["pending"])
            if behind == 0:
                return Lag(0, None)
            waiting_since = await self._oldest_waiting(_text(group["last-delivered-id"]))
            if waiting_since is None:
                return Lag(behind, None)
            seconds, microseconds = await self._redis.time()
            return Lag(behind, max(0.0, seconds + microseconds / 1e6 - waiting_since))
        except (RedisError, OSError, StopIteration) as error:
            raise Unavailable(f"The ledger stream cannot be read: {without_path(error)}") from error

    async def _oldest_waiting(self, last_delivered: str) -> float | None:
        """Return the UNIX time, by the clock of Redis, of the oldest entry that is not acknowledged."""
        pending: Any = await self._redis.xpending(self._stream_key, GROUP)
        first = pending["min"] if pending["pending"] else None
        if first is None:
            following: Any = await self._redis.xrange(self._stream_key, min=f"({last_delivered}", count=1)
            first = following[0][0] if following else None
        return None if first is None else int(_text(first).split("-")[0]) / 1000

    async def trim(self) -> None:
        """Delete entries that are on disk from the stream, except the newest `keep_acknowledged`.

        Entries that are not on disk must stay. Therefore nothing is deleted while their number is unknown.

        Raises:
            Unavailable: Redis cannot trim the stream.
        """
        waiting = (await self.lag()).entries
        if waiting is None:
            log.info("ledger_not_trimmed", reason="Redis cannot count the entries that are not on disk")
            return
        try:
            length = self._keep_acknowledged + waiting
            # Redis deletes whole nodes faster, which leaves up to about a hundred entries more.
            approximate = self._keep_acknowledged > 0
            await self._redis.xtrim(self._stream_key, maxlen=length, approximate=approximate)
        except (RedisError, OSError) as error:
            raise Unavailable(f"The ledger stream cannot be trimmed: {without_path(error)}") from error


class LedgerConsumer(StreamConsumer):
    """Consume the stream of served forecasts."""

    def __init__(self, redis: Redis, folder: Path, *, consumer: str) -> None:
        super().__init__(redis, STREAM_KEY, self.write, consumer=consumer)
        self._incoming = folder / "incoming"

    def write(self, messages: Sequence[Message]) -> None:
        """Write messages to a file of the ledger; count, log and drop unreadable ones. Raises OSError."""
        rows = [row for message in messages if (row := _row(message)) is not None]
        if rows:
            path = self._incoming / f"{messages[0][0]}_{messages[-1][0]}.parquet"
            write_rows(path, rows, FORECAST_SCHEMA)
        metrics.LEDGER_STORED.inc(len(rows))


def _flat(found: list[Any]) -> list[Any]:
    """Flatten the messages of a stream: RESP3 nests them one level deeper than RESP2."""
    if found and isinstance(found[0], list) and found[0] and isinstance(found[0][0], list | tuple):
        return [message for inner in found for message in inner]
    return found


def _row(message: Message) -> dict[str, object] | None:
    """Convert a message to a row; count, log and drop an unreadable one."""
    stream_id, fields = message
    try:
        entry = LedgerEntry.from_json(fields[STREAM_FIELD.encode()])
        return entry_row(stream_id, entry)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        metrics.LEDGER_REFUSED.inc()
        log.warning("ledger_entry_refused", stream_id=stream_id, error=str(error))
        return None


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
