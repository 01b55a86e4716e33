"""Cache entry and its encoding in Redis, with a checksum, so that garbage reads as a miss."""

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
