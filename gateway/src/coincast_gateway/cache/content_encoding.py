"""Content codings of a body, and which of them a client accepts."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from functools import lru_cache

import brotli
import zstandard

# Smaller bodies are not compressed: the saving would be no larger than the added header.
MIN_BYTES = 400
IDENTITY = "identity"


def _zstd(body: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=3).compress(body)


def _brotli(body: bytes) -> bytes:
    return bytes(brotli.compress(body, quality=4))


def _gzip(body: bytes) -> bytes:
    return gzip.compress(body, compresslevel=5, mtime=0)


# In the order of the gateway's preference: the cheapest to decompress first, since all compress about as
# well.
COMPRESS: dict[str, Callable[[bytes], bytes]] = {"zstd": _zstd, "br": _brotli, "gzip": _gzip}


@lru_cache(maxsize=512)
def choose_encoding(accept_encoding: bytes) -> str:
    """Return the content coding for an Accept-Encoding header.

    It is the supported coding with the highest weight; of equal ones the first in `COMPRESS`.
    """
    weights = dict(_weights(accept_encoding[:512].decode("latin-1").lower()))
    best, best_weight = IDENTITY, 0.0
    for name in COMPRESS:
        weight = weights.get(name, weights.get("*", 0.0))
        if weight > best_weight:
            best, best_weight = name, weight
    return best if best_weight >= weights.get(IDENTITY, 0.0) else IDENTITY


def _weights(header: str) -> list[tuple[str, float]]:
    found = []
    for part in header.split(","):
        name, _, parameter = part.partition(";")
        quality = parameter.strip().removeprefix("q=")
        try:
            found.append((name.strip(), float(quality) if parameter else 1.0))
        except ValueError:
            found.append((name.strip(), 0.0))
    return found
