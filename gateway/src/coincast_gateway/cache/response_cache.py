"""Response cache of this process: rendered responses, oldest evicted first, bounded by their bytes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any

from cachetools import FIFOCache

from coincast_chassis.clock import Clock
from coincast_chassis.resilience.single_flight import SingleFlight
from coincast_gateway.asgi_types import Scope, header
from coincast_gateway.cache.redis_tier import RedisTier
from coincast_gateway.rendering import CachedResponse, RenderedResponse

Key = Hashable
RawKey = tuple[str, bytes, bytes]
# Measured memory of one remembered request beside its own bytes.
RAW_KEY_BYTES = 3_200
# The share of the cache's memory that remembered requests may take.
RAW_KEY_SHARE = 0.25
# Longer requests are parsed each time: their keys would hold more memory than their parsing costs.
MAX_RAW_KEY_BYTES = 2048


@dataclass(frozen=True, slots=True)
class CacheRequest:
    """A request for a cached response: its key, and how the response is rendered on a miss."""

    key: Key
    make: Callable[[], Awaitable[RenderedResponse]]
    # Served without a key, too.
    public: bool = False
    # The name under which processes share the response in Redis; empty where they do not.
    shared_name: str = ""
    # The route that answers, whose path template labels the metrics.
    route: Any = None


def raw_key(scope: Scope) -> RawKey:
    """Return what identifies a request word for word: path, query string and Accept header."""
    return scope["path"], scope["query_string"], header(scope, b"accept")


class ResponseCache:
    """Responses by what was requested, and requests by their raw bytes, so that a repeat needs no parsing."""

    def __init__(
        self, *, max_bytes: int, clock: Clock, private: bool = False, shared: RedisTier | None = None
    ) -> None:
        responses_bytes = int(max_bytes * (1 - RAW_KEY_SHARE))
        # A cached response grows by its compressed variants: they are counted from the start.
        self._responses: FIFOCache[Key, CachedResponse] = FIFOCache(
            responses_bytes, getsizeof=lambda response: 2 * response.size_bytes
        )
        self._requests: FIFOCache[RawKey, CacheRequest] = FIFOCache(
            max(1, max_bytes - responses_bytes), getsizeof=lambda request: RAW_KEY_BYTES
        )
        self._flights: SingleFlight[Key, CachedResponse] = SingleFlight()
        self._clock = clock
        self._private = private
        self._shared = shared
        self.hits = self.misses = self.made = 0

    def __len__(self) -> int:
        return len(self._responses)

    @property
    def size_bytes(self) -> int:
        """Return the memory of the cached responses."""
        return int(self._responses.currsize)

    @property
    def shares(self) -> bool:
        """Return whether responses are shared with other processes."""
        return self._shared is not None

    def lookup_raw(self, raw: RawKey) -> tuple[CacheRequest, CachedResponse] | None:
        """Return the fresh response of a request that was seen before, word for word."""
        try:
            request: CacheRequest = self._requests[raw]
            cached: CachedResponse = self._responses[request.key]
        except KeyError:
            return None
        if cached.fresh_until <= self._clock.monotonic():
            return None
        self.hits += 1
        return request, cached

    def known(self, raw: RawKey) -> CacheRequest | None:
        """Return the parsed form of a request that was seen before, word for word."""
        return self._requests.get(raw)

    def remember(self, raw: RawKey, request: CacheRequest) -> None:
        """Remember the parsed form of a request; the oldest one is evicted."""
        if sum(map(len, raw)) <= MAX_RAW_KEY_BYTES and self._requests.maxsize >= RAW_KEY_BYTES:
            self._requests[raw] = request

    async def get(self, request: CacheRequest) -> CachedResponse:
        """Return the fresh cached response, or render it; concurrent requests share one rendering."""
        cached = self._responses.get(request.key)
        if cached is not None and cached.fresh_until > self._clock.monotonic():
            self.hits += 1
            return cached
        self.misses += 1
        return await self._flights.do(request.key, lambda: self._render(request))

    async def _render(self, request: CacheRequest) -> CachedResponse:
        self.made += 1
        response = await self._load_or_render(request)
        if response.rendered.fresh_seconds > 0:
            self._store(request.key, response)
        return response

    async def _load_or_render(self, request: CacheRequest) -> CachedResponse:
        if self._shared is None or not request.shared_name:
            return self.wrap(await request.make(), public=request.public)
        found = await self._shared.get(request.shared_name)
        if found is not None:
            rendered, made_at = found
            age_seconds = max(0.0, self._clock.now() - made_at)
            return self.wrap(rendered, public=request.public, age_seconds=age_seconds)
        rendered = await request.make()
        await self._shared.put(request.shared_name, rendered)
        return self.wrap(rendered, public=request.public)

    def wrap(
        self, rendered: RenderedResponse, *, public: bool = False, age_seconds: float = 0.0
    ) -> CachedResponse:
        """Return a response that can be sent and is not stored."""
        response = CachedResponse(
            rendered,
            now=self._clock.monotonic(),
            now_unix=self._clock.now() - age_seconds,
            private=self._private and not public,
            public=public,
        )
        response.made_at -= age_seconds
        return response

    def _store(self, key: Key, response: CachedResponse) -> None:
        self._responses.pop(key, None)
        if 2 * response.size_bytes <= self._responses.maxsize:
            self._responses[key] = response

    async def aclose(self) -> None:
        """Cancel the renderings in progress."""
        await self._flights.aclose()
