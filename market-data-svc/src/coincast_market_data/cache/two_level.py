"""Two-level cache of one kind of data: a bounded cache in memory over Redis.

An entry carries its times, and in Redis a checksum and, where a secret is set, a signature, so that garbage
and values of others read as a miss. A failing Redis reads as empty and is counted. Redis also holds leases
of cold keys: the replica with a key's lease fetches it for all, the others wait for the value.
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
    """A cached value with its times in UNIX seconds.

    `stored_at` is on the machine's clock (for freshness windows), `fetched_at` on the upstream's (for as_of).
    """

    value: T
    stored_at: float
    fetched_at: float
    fetch_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class CacheKind(Generic[T]):
    """One kind of data: its freshness windows and its encoding as bytes.

    `decode` raises ValueError for bytes that it cannot read.
    """

    name: str
    windows: FreshnessPolicy
    encode: Callable[[T], bytes]
    decode: Callable[[bytes], T]
    # Whether a value read from the store can belong to its key: the store may hold a wrong value.
    is_valid: Callable[[str, T], bool] = lambda _key, _value: True


def pack(entry: CacheEntry[T], kind: CacheKind[T]) -> bytes:
    """Encode an entry as checksum, times and payload.

    Args:
        entry: The value with its times.
        kind: Gives the encoding of the value.
    """
    times = orjson.dumps([entry.stored_at, entry.fetched_at, entry.fetch_seconds])
    body = times + b"\n" + kind.encode(entry.value)
    return b"%08x" % zlib.crc32(body) + body


def unpack(data: bytes, kind: CacheKind[T]) -> CacheEntry[T]:
    """Decode an entry.

    Args:
        data: Bytes from the store.
        kind: Gives the decoding of the value.

    Raises:
        ValueError: The bytes were not written by `pack`.
    """
    body = data[CHECK_LENGTH:]
    if data[:CHECK_LENGTH] != b"%08x" % zlib.crc32(body):
        raise ValueError("checksum")
    times, _, payload = body.partition(b"\n")
    stored_at, fetched_at, fetch_seconds = orjson.loads(times)
    return CacheEntry(kind.decode(payload), float(stored_at), float(fetched_at), float(fetch_seconds))


# HMAC-SHA-256 cut to 128 bits.
SIGNATURE_BYTES = 16


class ValueSigner(Protocol):
    """Signs values for the shared store and checks them when they are read back."""

    def sign(self, key: str, value: bytes) -> bytes:
        """Return the value as it is stored under the key."""
        ...

    def verify(self, key: str, stored: bytes) -> bytes | None:
        """Return the value; None where its signature is missing or wrong."""
        ...


class NoSignature:
    """Stores values as they are, where no secret is set."""

    def sign(self, key: str, value: bytes) -> bytes:
        """Return the value."""
        del key
        return value

    def verify(self, key: str, stored: bytes) -> bytes | None:
        """Return the value."""
        del key
        return stored


class HmacSigner:
    """Put an HMAC over key and value in front of each value.

    The key is signed as well, so that a value cannot be copied to another key.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sign(self, key: str, value: bytes) -> bytes:
        """Return signature and value."""
        return self._signature(key, value) + value

    def verify(self, key: str, stored: bytes) -> bytes | None:
        """Return the value; None where its signature is missing or wrong."""
        signature, value = stored[:SIGNATURE_BYTES], stored[SIGNATURE_BYTES:]
        return value if hmac.compare_digest(signature, self._signature(key, value)) else None

    def _signature(self, key: str, value: bytes) -> bytes:
        name = key.encode()
        message = len(name).to_bytes(4, "big") + name + value
        return hmac.digest(self._secret, message, "sha256")[:SIGNATURE_BYTES]


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


@dataclass(frozen=True, slots=True)
class LeaseResult(Generic[T]):
    """Lease state of the keys that need a fetch.

    It holds what another replica stored meanwhile, what is to be fetched here, and what another replica is
    fetching.
    """

    found: Mapping[str, CacheEntry[T]]
    mine: tuple[str, ...]
    elsewhere: tuple[str, ...]
    # Storage times at the start of the wait: a newer entry ends the wait.
    seen: Mapping[str, float]


class CacheStats:
    """Hits, misses and errors of both layers over all kinds, for the status."""

    def __init__(self) -> None:
        self.hits = {"memory": 0, "redis": 0}
        self.misses = {"memory": 0, "redis": 0}
        self.garbage = 0
        self._sizes: list[Callable[[], int]] = []

    def watch(self, size: Callable[[], int]) -> None:
        """Add one more cache to the count."""
        self._sizes.append(size)

    def entries(self) -> int:
        """Return the entries held in this process over all kinds."""
        return sum(size() for size in self._sizes)

    def add(self, layer: str, hits: int, misses: int) -> None:
        """Count one look-up."""
        self.hits[layer] += hits
        self.misses[layer] += misses
        if hits:
            metrics.CACHE_READS.labels(layer=layer, result="hit").inc(hits)
        if misses:
            metrics.CACHE_READS.labels(layer=layer, result="miss").inc(misses)


class TwoLevelCache(Generic[T]):
    """Reads the process's layer first, Redis for what is not fresh there; writes both.

    The process's layer is bounded by entries and, where `max_bytes` is not 0, by the bytes of documents.
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
        """The clock of ages and windows."""
        return self._clock

    def __len__(self) -> int:
        return len(self._memory)

    def age(self, entry: CacheEntry[T]) -> float:
        """Return the seconds since the entry was fetched.

        An entry from the future comes from a replica whose clock is wrong: it counts as old by as much.
        """
        age = self._clock.now() - entry.stored_at
        return age if age >= -CLOCK_SLACK_SECONDS else -age

    def peek(self, key: str) -> CacheEntry[T] | None:
        """Return this process's entry, while it may still be served."""
        entry = self._memory.get(key)
        return entry if entry is not None and self.age(entry) < self.kind.windows.if_error else None

    async def read(
        self, keys: Sequence[str], new_enough_seconds: float | None = None
    ) -> dict[str, CacheEntry[T]]:
        """Return the entries that exist, whatever their age.

        Redis is read for keys whose entry here is no longer fresh, or is older than `new_enough_seconds`.

        Args:
            keys: The keys to read.
            new_enough_seconds: Age up to which this process's entry is used without a look into Redis.
        """
        found = self._from_memory(keys)
        fresh = min(self.kind.windows.fresh, math.inf if new_enough_seconds is None else new_enough_seconds)
        below = [key for key in keys if key not in found or not 0 <= self.age(found[key]) < fresh]
        self._counts.add("memory", len(keys) - len(below), len(below))
        if below:
            found.update(await self._from_store(below, found))
            # A fetch may have ended while Redis was read: without its result this caller would fetch again.
            found.update(self._from_memory(below))
        return found

    def write(self, entries: Mapping[str, CacheEntry[T]]) -> None:
        """Store the entries in both layers, in Redis in the background, and release their leases."""
        self._remember(entries)
        packed = {self._key(key): pack(entry, self.kind) for key, entry in entries.items()}
        if packed:
            self._store.write(packed, self.kind.windows.if_error + 60)

    def versions(self, keys: Sequence[str]) -> dict[str, float]:
        """Return each key's stored_at, or -inf if it is not in memory."""
        found = ((key, self._memory.get(key)) for key in keys)
        return {key: -math.inf if entry is None else entry.stored_at for key, entry in found}

    async def claim(self, keys: Sequence[str], seen: Mapping[str, float]) -> LeaseResult[T]:
        """Take the lease of each key, so that one replica fetches; with what is newer than `seen` by now.

        Args:
            keys: Keys that need a fetch.
            seen: For each key when the known entry was stored.
        """
        return self._share(await self._store.claim([self._key(key) for key in keys]), keys, seen)

    async def look(self, keys: Sequence[str], seen: Mapping[str, float]) -> LeaseResult[T]:
        """Return the lease state like `claim`, but take no lease."""
        return self._share(await self._store.look([self._key(key) for key in keys]), keys, seen)

    def release(self, keys: Iterable[str]) -> None:
        """Release the leases without a value."""
        self._store.release([self._key(key) for key in keys])

    def _share(self, claim: Claim, keys: Sequence[str], seen: Mapping[str, float]) -> LeaseResult[T]:
        known = self._from_memory(keys)
        newer = known | self._newer({key: claim.values.get(self._key(key)) for key in keys}, known)
        # Check all entries, since another caller may have read them from Redis meanwhile.
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
        newer = self._newer({key: values.get(self._key(key)) for key in keys}, known)
        self._counts.add("redis", len(newer), len(keys) - len(newer))
        return newer

    def _newer(
        self, values: Mapping[str, bytes | None], known: Mapping[str, CacheEntry[T]]
    ) -> dict[str, CacheEntry[T]]:
        """Return the store's entries that are newer than the known ones, and store them in memory."""
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
            entry = unpack(data, self.kind)
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
    """Return the bytes of a document; entries of other kinds are counted, not weighed."""
    return len(entry.value) if isinstance(entry.value, bytes) else 0


# The maximum wait for another replica; afterwards this one fetches itself.
LONGEST_WAIT_SECONDS = 3.0
FIRST_PAUSE_SECONDS = 0.01
LONGEST_PAUSE_SECONDS = 0.1


class KeyLeases(Generic[T]):
    """Leases on the keys of one cache. Where Redis is away every key is fetched here, at once."""

    def __init__(self, cache: TwoLevelCache[T], *, longest_seconds: float = LONGEST_WAIT_SECONDS) -> None:
        self._cache = cache
        self._longest = longest_seconds

    async def claim(self, keys: Sequence[str], seen: Mapping[str, float] | None = None) -> LeaseResult[T]:
        """Return what to fetch here, what to wait for, and what was stored since now, or since `seen`.

        Args:
            keys: Keys that need a fetch.
            seen: For each key the time of the known entry; only newer entries count.
        """
        share = await self._cache.claim(keys, self._cache.versions(keys) if seen is None else seen)
        # A lease was taken for a key whose value already exists.
        self._cache.release(share.found)
        metrics.SHARED_FETCHES.labels(outcome="found").inc(len(share.found))
        return share

    async def obtain(self, key: str) -> CacheEntry[T] | None:
        """Return the value that another replica fetched; None where this process is to fetch it."""
        deadline = asyncio.get_running_loop().time() + self._longest
        seen = self._cache.versions([key])
        while True:
            share = await self.claim([key], seen)
            if share.found:
                return share.found[key]
            if share.mine or asyncio.get_running_loop().time() >= deadline:
                return None
            found = await self.wait([key], seen, deadline)
            if found:
                return found[key]

    async def wait(
        self, keys: Sequence[str], seen: Mapping[str, float], deadline: float | None = None
    ) -> dict[str, CacheEntry[T]]:
        """Wait for keys that are fetched elsewhere, until leases or time end; return what arrived.

        Args:
            keys: Keys that other replicas fetch.
            seen: For each key the time of the known entry.
            deadline: End of the wait, monotonic seconds.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._longest if deadline is None else deadline
        found: dict[str, CacheEntry[T]] = {}
        waiting, pause = tuple(keys), FIRST_PAUSE_SECONDS
        while waiting and clock() < deadline:
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE_SECONDS, pause * 1.5)
            share = await self._cache.look(waiting, seen)
            found |= share.found
            waiting = share.elsewhere
        metrics.SHARED_FETCHES.labels(outcome="waited").inc(len(found))
        metrics.SHARED_FETCHES.labels(outcome="gave_up").inc(len(keys) - len(found))
        return found

    def release(self, keys: Sequence[str]) -> None:
        """Release the leases after a failed fetch, so that another replica may try."""
        self._cache.release(keys)
