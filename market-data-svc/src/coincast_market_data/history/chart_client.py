"""The upstream's series for waiting callers: one call for any number of replicas.

Series are cached only for a moment, since the archive stores the candles.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

from coincast_market_data.cache.entry import CacheKind
from coincast_market_data.cache.freshness import FreshnessPolicy
from coincast_market_data.cache.read_through import FetchResult, ReadThrough
from coincast_market_data.coingecko.bounded_reader import parse_json
from coincast_market_data.identifiers import document_key
from coincast_market_data.ports import Priority, Upstream, UpstreamRequest

KEPT_SECONDS = 20.0
# Hourly points of a quarter shrink to a sixth already at the quickest level.
LEVEL = 1


@dataclass(frozen=True, slots=True)
class Series:
    """A parsed `market_chart`, and when the upstream sent it (UNIX seconds on its clock)."""

    document: Any
    received_at: float


def chart_kind() -> CacheKind[bytes]:
    """Return how replies are shared between replicas: unchanged, and never stale."""
    windows = FreshnessPolicy(KEPT_SECONDS, KEPT_SECONDS, KEPT_SECONDS)
    return CacheKind("points", windows, lambda raw: zlib.compress(raw, LEVEL), _unzipped)


class ChartClient:
    """Fetch charts; those of bulk readers and backfills are not shared, as no other caller waits for them."""

    def __init__(self, upstream: Upstream, shared: ReadThrough[bytes] | None = None) -> None:
        self._upstream = upstream
        self._shared = shared

    async def fetch(self, request: UpstreamRequest) -> Series:
        """Fetch one series; raises the upstream's errors."""
        if self._shared is None or request.priority in (Priority.BULK, Priority.BACKFILL):
            reply = await self._upstream.fetch(request)
            return Series(reply.document, reply.received_at)

        async def fetch(_: Priority) -> FetchResult[bytes]:
            reply = await self._upstream.fetch(request)
            return FetchResult(reply.raw, reply.as_of, reply.seconds)

        answer = await self._shared.get(document_key(request.path, request.query), fetch)
        return Series(parse_json(answer.value), answer.provenance.as_of)


def _unzipped(data: bytes) -> bytes:
    try:
        return zlib.decompress(data)
    except zlib.error as error:
        raise ValueError(str(error)) from error
