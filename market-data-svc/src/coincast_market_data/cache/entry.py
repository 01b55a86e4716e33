"""One cached thing, and its form in Redis: checked, so that garbage reads as nothing."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import orjson

from coincast_market_data.cache.freshness import FreshnessPolicy

T = TypeVar("T")
CHECK_LENGTH = 8


@dataclass(frozen=True, slots=True)
class CacheEntry(Generic[T]):
    """`stored_at` on the machine's clock (for windows), `fetched_at` on the upstream's (for as_of); UNIX
    seconds.
    """

    value: T
    stored_at: float
    fetched_at: float
    fetch_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class CacheKind(Generic[T]):
    """One kind of data: its windows and its form as bytes. `decode` raises ValueError for what it cannot
    read.
    """

    name: str
    windows: FreshnessPolicy
    encode: Callable[[T], bytes]
    decode: Callable[[bytes], T]
    # Whether a value that was read back can be that of its key: the store may hold another's, or a wrong one.
    is_valid: Callable[[str, T], bool] = lambda _key, _value: True


def pack(entry: CacheEntry[T], kind: CacheKind[T]) -> bytes:
    """Checksum, times, payload."""
    times = orjson.dumps([entry.stored_at, entry.fetched_at, entry.fetch_seconds])
    body = times + b"\n" + kind.encode(entry.value)
    return b"%08x" % zlib.crc32(body) + body


def unpack(data: bytes, kind: CacheKind[T]) -> CacheEntry[T]:
    """The entry. Raises ValueError for anything that `pack` did not write."""
    body = data[CHECK_LENGTH:]
    if data[:CHECK_LENGTH] != b"%08x" % zlib.crc32(body):
        raise ValueError("checksum")
    times, _, payload = body.partition(b"\n")
    stored_at, fetched_at, fetch_seconds = orjson.loads(times)
    return CacheEntry(kind.decode(payload), float(stored_at), float(fetched_at), float(fetch_seconds))
