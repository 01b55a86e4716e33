"""The shared layer on Redis; a broken Redis reads as empty and is counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import redis.asyncio

from coincast_market_data.redis_gate import RedisGate


class RedisStore:
    """Reads and writes through the gate, all keys of a call in one round trip."""

    def __init__(self, client: redis.asyncio.Redis, gate: RedisGate, prefix: str) -> None:
        self._client = client
        self._gate = gate
        self._prefix = prefix

    @property
    def up(self) -> bool:
        """Whether the last command was answered."""
        return self._gate.up

    @property
    def errors(self) -> int:
        """Commands that were not answered."""
        return self._gate.errors

    async def answers(self) -> bool:
        """Whether it answers now."""

        async def command() -> bool:
            return bool(await self._client.ping())

        return bool(await self._gate.ask("ping", command))

    async def read(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        """Values of those keys that are there."""
        names = [self._prefix + key for key in keys]

        async def command() -> list[object]:
            return list(await self._client.mget(names))

        values = await self._gate.ask("read", command)
        if values is None or len(values) != len(keys):
            return {}
        return {key: value for key, value in zip(keys, values, strict=True) if isinstance(value, bytes)}

    async def write(self, items: Mapping[str, bytes], ttl_seconds: float) -> None:
        """Keep the items for so long."""

        async def command() -> bool:
            async with self._client.pipeline(transaction=False) as pipe:
                for key, value in items.items():
                    pipe.set(self._prefix + key, value, px=int(ttl_seconds * 1000))
                await pipe.execute()
            return True

        await self._gate.ask("write", command)


class NullStore:
    """No shared layer."""

    up = False
    errors = 0

    async def read(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        """Nothing."""
        del keys
        return {}

    async def write(self, items: Mapping[str, bytes], ttl_seconds: float) -> None:
        """Forget."""
