"""Two-level cache of one kind of data: a bounded cache in memory over Redis.

An entry has its times, and in Redis a checksum and, if a secret is set, a signature. Values that are garbage
or were written by others count as a miss. If Redis fails, it counts as empty. Redis also has leases of
missing keys: the replica with the lease of a key fetches it, the others wait for the value.
"""

from __future__ import annotations

import asyncio
import hmac
import math
import sys
import uuid
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, cast

import orjson
import redis.asyncio

from coincast_chassis.clock import Clock
from coincast_chassis.resilience.bounded_cache import BoundedCache
from coincast_market_data import metrics
from coincast_market_data.cache.freshness import CLOCK_SLACK_SECONDS, FreshnessPolicy
from coincast_market_data.ports import Claim, SharedStore
from coincast_market_data.redis_executor import RedisExecutor

T = TypeVar("T")
CHECK_LENGTH = 8


@dataclass(frozen=True, slots=True)
class CacheEntry(Generic[T]):
    """A cached value with its times.

    `stored_at` is UNIX seconds on this machine's clock, for freshness windows; `fetched_at` is UNIX seconds
    on the upstream's clock, for `as_of`.
    """

    value: T
    stored_at: float
    fetched_at: float
    fetch_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class CacheKind(Generic[T]):
    """One kind of data: its freshness windows, and its encoding as bytes.

    `decode` raises ValueError for bytes that `encode` did not write.
    """

    name: str
    windows: FreshnessPolicy
    encode: Callable[[T], bytes]
    decode: Callable[[bytes], T]
    # Returns whether a value that was read from Redis is valid for its key, since Redis may have a wrong
    # value.
    is_valid: Callable[[str, T], bool] = lambda _key, _value: True
    # Loads what `is_valid` compares values of these keys with.
    prepare: Callable[[Sequence[str]], Awaitable[None]] | None = None


def pack(entry: CacheEntry[T], kind: CacheKind[T], key: str) -> bytes:
    """Encode an entry as checksum, times and payload.

    Args:
        entry: The value with its times.
        kind: The kind of data, which encodes the value.
        key: The key of the value, which the checksum covers: a value of another key reads as garbage.
    """
    times = orjson.dumps([entry.stored_at, entry.fetched_at, entry.fetch_seconds])
    body = times + b"\n" + kind.encode(entry.value)
    return _checksum(kind, key, body) + body


def _checksum(kind: CacheKind[T], key: str, body: bytes) -> bytes:
    return b"%08x" % zlib.crc32(body, zlib.crc32(f"{kind.name}:{key}\n".encode()))


def unpack(data: bytes, kind: CacheKind[T], key: str) -> CacheEntry[T]:
    """Decode an entry.

    Args:
        data: Bytes from Redis.
        kind: The kind of data, which decodes the value.
        key: The key that they were stored under.

    Raises:
        ValueError: The bytes were not written by `pack`.
    """
    body = data[CHECK_LENGTH:]
    if data[:CHECK_LENGTH] != _checksum(kind, key, body):
        raise ValueError("checksum")
    times, _, payload = body.partition(b"\n")
    stored_at, fetched_at, fetch_seconds = orjson.loads(times)
    return CacheEntry(kind.decode(payload), float(stored_at), float(fetched_at), float(fetch_seconds))


# HMAC-SHA-256 cut to 128 bits.
SIGNATURE_BYTES = 16


class ValueSigner(Protocol):
    """Signs values for Redis, and verifies them when they are read."""

    def sign(self, key: str, value: bytes) -> bytes:
        """Return the bytes to store under the key."""
        ...

    def verify(self, key: str, stored: bytes) -> bytes | None:
        """Return the value, or None if its signature is missing or wrong."""
        ...


class NoSignature:
    """Signer that stores values unchanged, if no secret is set."""

    def sign(self, key: str, value: bytes) -> bytes:
        """Return the value."""
        del key
        return value

    def verify(self, key: str, stored: bytes) -> bytes | None:
        """Return the value."""
        del key
        return stored


class HmacSigner:
    """Signer that puts an HMAC of key and value in front of each value.

    The key is included, so that a value cannot be copied to another key.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sign(self, key: str, value: bytes) -> bytes:
        """Return the signature followed by the value."""
        return self._signature(key, value) + value

    def verify(self, key: str, stored: bytes) -> bytes | None:
        """Return the value, or None if its signature is missing or wrong."""
        signature, value = stored[:SIGNATURE_BYTES], stored[SIGNATURE_BYTES:]
        return value if hmac.compare_digest(signature, self._signature(key, value)) else None

    def _signature(self, key: str, value: bytes) -> bytes:
        name = key.encode()
        message = len(name).to_bytes(4, "big") + name + value
        return hmac.digest(self._secret, message, "sha256")[:SIGNATURE_BYTES]


# A lease must outlast a fetch with all its retries. A replica that dies with a lease blocks the others for
# at most this long.
LEASE_SECONDS = 12.0
# The form of the holder's name in a lease; another form is garbage.
TOKEN_MARK = b"coincast-lease-"
TOKEN_LENGTH = len(TOKEN_MARK) + 32
# Script that deletes those leases that this process still holds.
RELEASE = """
for _, name in ipairs(KEYS) do
  if redis.call('GET', name) == ARGV[1] then redis.call('DEL', name) end
end
return 1
"""


class RedisStore:
    """Shared store in Redis; all keys of a call take one round trip.

    Args:
        client: The Redis client.
        executor: Runs the commands fail-fast.
        prefix: The prefix of all keys.
        signer: Signs and verifies values.
    """

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
        """Whether Redis answered the last command."""
        return self._executor.up

    @property
    def errors(self) -> int:
        """The number of failed commands."""
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
        """Take the leases of those keys that no other replica is fetching; without Redis, of all keys."""
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
        """Return the same as `claim`, without taking leases."""
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
        """Store items in the background, and release their leases.

        Args:
            items: Values by key.
            ttl_seconds: Their time to live in Redis.
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

    def remove(self, key: str) -> None:
        """Delete a value in the background."""

        async def command() -> object:
            return await cast("Awaitable[object]", self._client.delete(self._prefix + key))

        self._executor.submit("remove", command)

    def release(self, keys: Iterable[str]) -> None:
        """Release the leases of keys whose fetch failed, so that another replica can fetch them."""
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
        """Return the values with a valid signature; others count as missing and as an error."""
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
    """Shared store of a process without Redis: it stores nothing."""

    up = False
    errors = 0

    async def read(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        """Return nothing."""
        del keys
        return {}

    async def claim(self, keys: Sequence[str]) -> Claim:
        """Return all keys as leased, since there is no other replica."""
        return Claim(tuple(keys), frozenset(), {})

    async def look(self, keys: Sequence[str]) -> Claim:
        """Return all keys as leased, since there is no other replica."""
        return Claim(tuple(keys), frozenset(), {})

    def write(self, items: Mapping[str, bytes], ttl_seconds: float) -> None:
        """Do nothing."""

    def remove(self, key: str) -> None:
        """Do nothing, since nothing is stored."""

    def release(self, keys: Iterable[str]) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class LeaseResult(Generic[T]):
    """Lease state of keys that need a fetch."""

    # Entries that another replica stored meanwhile.
    found: Mapping[str, CacheEntry[T]]
    # Keys that this replica must fetch.
    mine: tuple[str, ...]
    # Keys that another replica is fetching.
    elsewhere: tuple[str, ...]
    # For each key `stored_at` of the entry that is known already; only a newer entry ends a wait.
    seen: Mapping[str, float]


class CacheStats:
    """Hits, misses and errors of both layers over all kinds of data, for the status report."""

    def __init__(self) -> None:
        self.hits = {"memory": 0, "redis": 0}
        self.misses = {"memory": 0, "redis": 0}
        self.garbage = 0
        self._sizes: list[Callable[[], int]] = []

    def watch(self, size: Callable[[], int]) -> None:
        """Include the size of one more memory cache in `entries`."""
        self._sizes.append(size)

    def entries(self) -> int:
        """Return the number of entries in memory over all kinds of data."""
        return sum(size() for size in self._sizes)

    def add(self, layer: str, hits: int, misses: int) -> None:
        """Count the look-ups of one read.

        Args:
            layer: `memory` or `redis`.
            hits: Keys that were found.
            misses: Keys that were not.
        """
        self.hits[layer] += hits
        self.misses[layer] += misses
        if hits:
            metrics.CACHE_READS.labels(layer=layer, result="hit").inc(hits)
        if misses:
            metrics.CACHE_READS.labels(layer=layer, result="miss").inc(misses)


class TwoLevelCache(Generic[T]):
    """Cache in memory over Redis: keys that are not fresh in memory are read from Redis; writes go to both.

    Args:
        kind: The kind of data.
        store: The shared store in Redis.
        clock: The clock of freshness windows.
        counts: Counts hits and misses.
        max_entries: The most entries in memory.
        max_bytes: The most bytes of documents in memory; 0 means no limit.
    """

    def __init__(
        self,
        kind: CacheKind[T],
        store: SharedStore,
        clock: Clock,
        counts: CacheStats,
        *,
        max_entries: int,
        max_bytes: int = 0,
    ) -> None:
        self.kind = kind
        self._store = store
        self._clock = clock
        self._counts = counts
        self._memory: BoundedCache[str, CacheEntry[T]] = BoundedCache(
            max_bytes=max_bytes or sys.maxsize, max_entries=max_entries, size_of=document_bytes
        )
        counts.watch(lambda: len(self._memory))

    @property
    def clock(self) -> Clock:
        """The clock of freshness windows."""
        return self._clock

    def __len__(self) -> int:
        return len(self._memory)

    def age(self, entry: CacheEntry[T]) -> float:
        """Return the seconds since the entry was stored.

        An entry from the future comes from a replica with a wrong clock. Its age counts as positive, so that
        it is soon replaced.
        """
        age = self._clock.now() - entry.stored_at
        return age if age >= -CLOCK_SLACK_SECONDS else -age

    def peek(self, key: str) -> CacheEntry[T] | None:
        """Return the entry in memory, or None if there is none that may still be served."""
        entry = self._memory.get(key)
        return entry if entry is not None and self.age(entry) < self.kind.windows.if_error else None

    async def read(
        self, keys: Sequence[str], new_enough_seconds: float | None = None
    ) -> dict[str, CacheEntry[T]]:
        """Return the existing entries of keys, of any age.

        Args:
            keys: The keys to read.
            new_enough_seconds: The age up to which a fresh entry in memory is used without reading Redis; by
                default that of the fresh window.
        """
        found = self._from_memory(keys)
        fresh = min(self.kind.windows.fresh, math.inf if new_enough_seconds is None else new_enough_seconds)
        below = [key for key in keys if key not in found or not 0 <= self.age(found[key]) < fresh]
        self._counts.add("memory", len(keys) - len(below), len(below))
        if below:
            found.update(await self._from_store(below, found))
            # Memory is read again: if a fetch has ended while Redis was read, its result saves another fetch.
            found.update(self._from_memory(below))
        return found

    def write(self, entries: Mapping[str, CacheEntry[T]]) -> None:
        """Store entries in memory and, in the background, in Redis, which also releases their leases."""
        self._remember(entries)
        packed = {self._key(key): pack(entry, self.kind, key) for key, entry in entries.items()}
        if packed:
            self._store.write(packed, self.kind.windows.if_error + 60)

    def drop(self, key: str) -> None:
        """Remove an entry that turned out to be false, from both layers."""
        self._memory.pop(key)
        self._store.remove(self._key(key))

    def versions(self, keys: Sequence[str]) -> dict[str, float]:
        """Return `stored_at` of each key's entry in memory, or -inf if there is none."""
        found = ((key, self._memory.get(key)) for key in keys)
        return {key: -math.inf if entry is None else entry.stored_at for key, entry in found}

    async def claim(self, keys: Sequence[str], seen: Mapping[str, float]) -> LeaseResult[T]:
        """Take the leases of keys, so that only one replica fetches each.

        Args:
            keys: Keys that need a fetch.
            seen: For each key `stored_at` of the known entry; newer entries are returned as found.
        """
        claim = await self._store.claim([self._key(key) for key in keys])
        await self._prepare(keys, claim.values)
        return self._lease_result(claim, keys, seen)

    async def look(self, keys: Sequence[str], seen: Mapping[str, float]) -> LeaseResult[T]:
        """Return the same as `claim`, without taking leases."""
        claim = await self._store.look([self._key(key) for key in keys])
        await self._prepare(keys, claim.values)
        return self._lease_result(claim, keys, seen)

    def release(self, keys: Iterable[str]) -> None:
        """Release leases without storing a value."""
        self._store.release([self._key(key) for key in keys])

    def _lease_result(self, claim: Claim, keys: Sequence[str], seen: Mapping[str, float]) -> LeaseResult[T]:
        known = self._from_memory(keys)
        newer = known | self._newer({key: claim.values.get(self._key(key)) for key in keys}, known)
        # Entries in memory count as well, since another caller may have read them from Redis meanwhile.
        found = {key: entry for key, entry in newer.items() if entry.stored_at > seen[key]}
        left = [key for key in keys if key not in found]
        elsewhere = tuple(key for key in left if self._key(key) in claim.elsewhere)
        mine = tuple(key for key in left if self._key(key) not in claim.elsewhere)
        return LeaseResult(found, mine, elsewhere, seen)

    def _key(self, key: str) -> str:
        return f"{self.kind.name}:{key}"

    def _from_memory(self, keys: Sequence[str]) -> dict[str, CacheEntry[T]]:
        found = ((key, self._memory.get(key)) for key in keys)
        return {key: entry for key, entry in found if entry is not None}

    async def _from_store(
        self, keys: Sequence[str], known: Mapping[str, CacheEntry[T]]
    ) -> dict[str, CacheEntry[T]]:
        values = await self._store.read([self._key(key) for key in keys])
        await self._prepare(keys, values)
        newer = self._newer({key: values.get(self._key(key)) for key in keys}, known)
        self._counts.add("redis", len(newer), len(keys) - len(newer))
        return newer

    async def _prepare(self, keys: Sequence[str], values: Mapping[str, bytes]) -> None:
        if self.kind.prepare is not None and values:
            await self.kind.prepare([key for key in keys if self._key(key) in values])

    def _newer(
        self, values: Mapping[str, bytes | None], known: Mapping[str, CacheEntry[T]]
    ) -> dict[str, CacheEntry[T]]:
        """Return the entries of Redis that are newer than the known ones, and store them in memory."""
        newer: dict[str, CacheEntry[T]] = {}
        for key, value in values.items():
            entry = self._unpacked(key, value)
            if entry is not None and (key not in known or entry.stored_at > known[key].stored_at):
                newer[key] = entry
        self._remember(newer)
        return newer

    def _unpacked(self, key: str, data: bytes | None) -> CacheEntry[T] | None:
        if data is None:
            return None
        try:
            entry = unpack(data, self.kind, key)
            times = (entry.stored_at, entry.fetched_at, entry.fetch_seconds)
            valid = all(map(math.isfinite, times)) and self.kind.is_valid(key, entry.value)
        except (ValueError, TypeError, KeyError, AttributeError):
            valid = False
        if valid:
            return entry
        self._counts.garbage += 1
        metrics.REDIS_ERRORS.labels(operation="read", reason="garbage").inc()
        return None

    def _remember(self, entries: Mapping[str, CacheEntry[T]]) -> None:
        for key, entry in entries.items():
            self._memory.put(key, entry)


def document_bytes(entry: CacheEntry[Any]) -> int:
    """Return the size of a document; other kinds of data are bounded by the number of entries only."""
    return len(entry.value) if isinstance(entry.value, bytes) else 0


# The longest wait for another replica; afterwards this one fetches the key itself. The following are the
# pauses between two looks at Redis.
LONGEST_WAIT_SECONDS = 3.0
FIRST_PAUSE_SECONDS = 0.01
LONGEST_PAUSE_SECONDS = 0.1


class KeyLeases(Generic[T]):
    """Leases on the keys of one cache. If Redis is unavailable, every key is fetched here without waiting.

    Args:
        cache: The cache.
        longest_seconds: The longest wait for another replica.
    """

    def __init__(self, cache: TwoLevelCache[T], *, longest_seconds: float = LONGEST_WAIT_SECONDS) -> None:
        self._cache = cache
        self._longest = longest_seconds

    async def claim(self, keys: Sequence[str], seen: Mapping[str, float] | None = None) -> LeaseResult[T]:
        """Take the leases of keys.

        Args:
            keys: Keys that need a fetch.
            seen: For each key `stored_at` of the known entry, by default of the one in memory; only newer
                entries count as found.
        """
        leases = await self._cache.claim(keys, self._cache.versions(keys) if seen is None else seen)
        # Leases were also taken for the keys whose value exists, which are not fetched.
        self._cache.release(leases.found)
        metrics.SHARED_FETCHES.labels(outcome="found").inc(len(leases.found))
        return leases

    async def obtain(self, key: str) -> CacheEntry[T] | None:
        """Return the entry that another replica fetched, or None if this process must fetch the key."""
        deadline = asyncio.get_running_loop().time() + self._longest
        seen = self._cache.versions([key])
        while True:
            leases = await self.claim([key], seen)
            if leases.found:
                return leases.found[key]
            if leases.mine or asyncio.get_running_loop().time() >= deadline:
                return None
            found = await self.wait([key], seen, deadline)
            if found:
                return found[key]

    async def wait(
        self, keys: Sequence[str], seen: Mapping[str, float], deadline: float | None = None
    ) -> dict[str, CacheEntry[T]]:
        """Wait for keys that other replicas are fetching, until all leases have ended or the deadline.

        Args:
            keys: The keys.
            seen: For each key `stored_at` of the known entry.
            deadline: The end of the wait, monotonic seconds; by default the longest wait from now.

        Returns:
            The entries that arrived.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._longest if deadline is None else deadline
        found: dict[str, CacheEntry[T]] = {}
        waiting, pause = tuple(keys), FIRST_PAUSE_SECONDS
        while waiting and clock() < deadline:
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE_SECONDS, pause * 1.5)
            leases = await self._cache.look(waiting, seen)
            found |= leases.found
            waiting = leases.elsewhere
        metrics.SHARED_FETCHES.labels(outcome="waited").inc(len(found))
        metrics.SHARED_FETCHES.labels(outcome="gave_up").inc(len(keys) - len(found))
        return found

    def release(self, keys: Sequence[str]) -> None:
        """Release the leases of keys whose fetch failed, so that another replica can fetch them."""
        self._cache.release(keys)
