"""Shared cache layer in Redis; a failing Redis reads as empty and is counted.

It also holds leases: the replica with a key's lease fetches it for all, the others wait for the value.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import cast

import redis.asyncio

from coincast_market_data import metrics
from coincast_market_data.cache.signature import NoSignature, ValueSigner
from coincast_market_data.ports import Claim
from coincast_market_data.redis_executor import RedisExecutor

# Longer than a fetch with all its retries; a replica that dies with a lease blocks the others no longer.
LEASE_SECONDS = 12.0
# A holder name of another form is garbage.
TOKEN_MARK = b"coincast-lease-"
TOKEN_LENGTH = len(TOKEN_MARK) + 32
# Deletes the leases that are still this process' own.
RELEASE = """
for _, name in ipairs(KEYS) do
  if redis.call('GET', name) == ARGV[1] then redis.call('DEL', name) end
end
return 1
"""


class RedisStore:
    """Reads and writes through the executor, all keys of a call in one round trip."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        executor: RedisExecutor,
        prefix: str,
        signer: ValueSigner | None = None,
    ) -> None:
        self._signer: ValueSigner = signer or NoSignature()
        self._client = client
        self._executor = executor
        self._prefix = prefix
        self._token = TOKEN_MARK + uuid.uuid4().hex.encode()
        self._held: set[str] = set()

    @property
    def up(self) -> bool:
        """Whether Redis answers, as far as is known."""
        return self._executor.up

    @property
    def errors(self) -> int:
        """Commands that were not answered."""
        return self._executor.errors

    async def answers(self) -> bool:
        """Return whether Redis answers now."""

        async def command() -> bool:
            return bool(await self._client.ping())

        return bool(await self._executor.execute("ping", command))

    async def read(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        """Return the values of those keys that exist."""
        names = [self._prefix + key for key in keys]

        async def command() -> list[object]:
            return list(await self._client.mget(names))

        return self._verified(keys, await self._executor.execute("read", command))

    async def claim(self, keys: Sequence[str]) -> Claim:
        """Take the leases of keys that no other replica is fetching; of all keys if Redis is away."""
        names, leases = [self._prefix + key for key in keys], [self._lease(key) for key in keys]

        async def command() -> list[list[object]]:
            async with self._client.pipeline(transaction=False) as pipe:
                for lease in leases:
                    pipe.set(lease, self._token, nx=True, px=int(LEASE_SECONDS * 1000))
                pipe.mget(leases)
                pipe.mget(names)
                return [list(part) for part in (await pipe.execute())[-2:]]

        reply = await self._executor.execute("claim", command)
        holders, values = reply if reply and len(reply) == 2 else ([], [])
        elsewhere = frozenset(self._foreign(keys, holders))
        mine = [key for key in keys if key not in elsewhere]
        if reply:
            self._held.update(mine)
        return Claim(tuple(mine), elsewhere, self._verified(keys, values))

    async def look(self, keys: Sequence[str]) -> Claim:
        """Return stored values and what is being fetched elsewhere; like `claim`, but take no lease."""
        names = [*(self._prefix + key for key in keys), *(self._lease(key) for key in keys)]

        async def command() -> list[object]:
            return list(await self._client.mget(names))

        reply = await self._executor.execute("look", command)
        if reply is None or len(reply) != len(names):
            return Claim(tuple(keys), frozenset(), {})
        elsewhere = frozenset(self._foreign(keys, reply[len(keys) :]))
        mine = tuple(key for key in keys if key not in elsewhere)
        return Claim(mine, elsewhere, self._verified(keys, reply[: len(keys)]))

    def write(self, items: Mapping[str, bytes], ttl_seconds: float) -> None:
        """Store the items for this long in the background; this also releases their leases.

        Args:
            items: Values by key.
            ttl_seconds: Lifetime in Redis.
        """
        held = [key for key in items if key in self._held]
        self._held.difference_update(held)
        signed = {key: self._signer.sign(key, value) for key, value in items.items()}

        async def command() -> bool:
            async with self._client.pipeline(transaction=False) as pipe:
                for key, value in signed.items():
                    pipe.set(self._prefix + key, value, px=int(ttl_seconds * 1000))
                if held:
                    pipe.eval(RELEASE, len(held), *(self._lease(key) for key in held), self._token)
                await pipe.execute()
            return True

        self._executor.submit("write", command)

    def release(self, keys: Iterable[str]) -> None:
        """Release leases without a value: the fetch failed, another replica may try."""
        held = [key for key in keys if key in self._held]
        if not held:
            return
        self._held.difference_update(held)

        async def command() -> object:
            leases = [self._lease(key) for key in held]
            return await cast(
                "Awaitable[object]", self._client.eval(RELEASE, len(held), *leases, self._token)
            )

        self._executor.submit("release", command)

    def _verified(self, keys: Sequence[str], values: Sequence[object] | None) -> Mapping[str, bytes]:
        """Return the values whose signature is right; the others read as missing and are counted."""
        found = {}
        for key, stored in _values(keys, values).items():
            value = self._signer.verify(key, stored)
            if value is None:
                metrics.REDIS_ERRORS.labels(operation="read", reason="signature").inc()
            else:
                found[key] = value
        return found

    def _lease(self, key: str) -> str:
        return f"{self._prefix}lease:{key}"

    def _foreign(self, keys: Sequence[str], holders: Sequence[object]) -> list[str]:
        if len(holders) != len(keys):
            return []
        return [key for key, holder in zip(keys, holders, strict=True) if self._is_foreign(holder)]

    def _is_foreign(self, holder: object) -> bool:
        right = isinstance(holder, bytes) and len(holder) == TOKEN_LENGTH and holder.startswith(TOKEN_MARK)
        return right and holder != self._token


def _values(keys: Sequence[str], values: Sequence[object] | None) -> Mapping[str, bytes]:
    if values is None or len(values) != len(keys):
        return {}
    return {key: value for key, value in zip(keys, values, strict=True) if isinstance(value, bytes)}


class NullStore:
    """No shared layer."""

    up = False
    errors = 0

    async def read(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        """Return nothing."""
        del keys
        return {}

    async def claim(self, keys: Sequence[str]) -> Claim:
        """Return all keys, to be fetched here: there is no other replica."""
        return Claim(tuple(keys), frozenset(), {})

    async def look(self, keys: Sequence[str]) -> Claim:
        """Return all keys, to be fetched here: there is no other replica."""
        return Claim(tuple(keys), frozenset(), {})

    def write(self, items: Mapping[str, bytes], ttl_seconds: float) -> None:
        """Forget."""

    def release(self, keys: Iterable[str]) -> None:
        """Do nothing, since no lease was held."""
