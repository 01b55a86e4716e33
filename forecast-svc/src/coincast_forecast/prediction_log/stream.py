"""The Redis stream from which training-svc reads served forecasts."""

from __future__ import annotations

from collections.abc import Sequence

import redis.asyncio
from redis.exceptions import RedisError

from coincast_modelkit.ledger import STREAM_FIELD, STREAM_KEY

CHUNK = 200


class StreamUnavailableError(Exception):
    """Redis did not confirm the lines; some of them may have arrived."""


class Stream:
    """Appends lines, one message per line.

    A message may arrive twice; readers deduplicate by forecast_id and horizon.
    """

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client

    async def add(self, lines: Sequence[str]) -> None:
        """Append all. Raises StreamUnavailableError where Redis does not confirm every one."""
        try:
            for start in range(0, len(lines), CHUNK):
                async with self._client.pipeline(transaction=False) as pipe:
                    for line in lines[start : start + CHUNK]:
                        pipe.xadd(STREAM_KEY, {STREAM_FIELD: line})
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
