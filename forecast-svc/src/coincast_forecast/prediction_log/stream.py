"""The Redis streams from which training-svc reads served forecasts and risk answers."""

from __future__ import annotations

from collections.abc import Sequence

import redis.asyncio
from redis.exceptions import RedisError

from coincast_modelkit.ledger import STREAM_FIELD
from coincast_modelkit.scenarios.statements import stream_key_of

CHUNK = 200


class StreamUnavailableError(Exception):
    """Redis did not confirm the lines; some of them may have arrived."""


class Stream:
    """Appends lines, one message per line, each to the stream of its kind.

    A message may arrive twice; readers deduplicate by the ids of the lines.
    """

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client

    async def add(self, lines: Sequence[str]) -> None:
        """Append all. Raises StreamUnavailableError where Redis does not confirm every one."""
        try:
            for start in range(0, len(lines), CHUNK):
                async with self._client.pipeline(transaction=False) as pipe:
                    for line in lines[start : start + CHUNK]:
                        pipe.xadd(stream_key_of(line), {STREAM_FIELD: line})
                    await pipe.execute()
        except (RedisError, OSError, TimeoutError) as error:
            raise StreamUnavailableError(str(error)) from error

    async def ping(self) -> bool:
        """Return whether Redis answers."""
        try:
            await self._client.ping()
        except (RedisError, OSError, TimeoutError):
            return False
        return True
