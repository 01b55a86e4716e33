"""Replies kept in this process as ready bytes, oldest out first, bounded by their size."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass

from coincast_chassis.clock import Clock
from coincast_chassis.resilience.single_flight import SingleFlight
from coincast_gateway.cache.cached_response import CachedResponse
from coincast_gateway.cache.redis_tier import RedisTier
from coincast_gateway.rendering import RenderedResponse

Key = Hashable
MAX_RAW_KEYS = 20_000
# What one request that is known word for word takes, as measured; they share the bound of the ready replies.
RAW_KEY_BYTES = 3_200
LEAST_RAW_KEYS = 100
# Longer requests are parsed each time: their keys would hold more memory than their parsing costs.
MAX_RAW_QUERY_BYTES = 2048


@dataclass(frozen=True, slots=True)
class CacheRequest:
    """What a request asks for: under which key its reply lies, and who makes it."""

    key: Key
    make: Callable[[], Awaitable[RenderedResponse]]
    # Served to those who may not read, too.
    public: bool = False
    # Under which name processes share the reply; empty where they do not.
    shared_name: str = ""


class ResponseCache:
    """Entries by what was asked, and what was asked by the raw request, so that a repeat needs no parsing."""

    def __init__(
        self, *, max_bytes: int, clock: Clock, private: bool = False, shared: RedisTier | None = None
    ) -> None:
        self._entries: OrderedDict[Key, tuple[CachedResponse, int]] = OrderedDict()
        self._plans: OrderedDict[Key, CacheRequest] = OrderedDict()
        self._flights: SingleFlight[Key, CachedResponse] = SingleFlight()
        self._max_bytes = max_bytes
        self._max_raw_keys = min(MAX_RAW_KEYS, max(LEAST_RAW_KEYS, max_bytes // RAW_KEY_BYTES))
        self._clock = clock
        self._private = private
        self._shared = shared
        self.size_bytes = 0
        self.hits = self.asked = self.made = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def shares(self) -> bool:
        """Whether replies go to other processes as well."""
        return self._shared is not None

    def raw(self, raw: Key, now: float) -> CachedResponse | None:
        """The fresh entry of a request that was met before, word for word."""
        plan = self._plans.get(raw)
        kept = self._entries.get(plan.key) if plan is not None else None
        if kept is None or kept[0].fresh_until <= now:
            return None
        self.hits += 1
        return kept[0]

    def plan(self, raw: Key) -> CacheRequest | None:
        """What a request that was met before, word for word, asks for; it needs no parsing again."""
        return self._plans.get(raw)

    def remember(self, raw: Key, plan: CacheRequest) -> None:
        """Know this request from now on."""
        self._plans[raw] = plan
        if len(self._plans) > self._max_raw_keys:
            self._plans.popitem(last=False)

    async def get(self, plan: CacheRequest) -> CachedResponse:
        """The fresh entry of what is asked, or a new one; those who ask meanwhile share the making."""
        kept = self._entries.get(plan.key)
        if kept is not None and kept[0].fresh_until > self._clock.monotonic():
            self.hits += 1
            return kept[0]
        self.asked += 1
        return await self._flights.do(plan.key, lambda: self._made(plan))

    async def _made(self, plan: CacheRequest) -> CachedResponse:
        self.made += 1
        entry = await self._shared_entry(plan)
        if entry.reply.fresh_seconds > 0:
            self._keep(plan.key, entry)
        return entry

    async def _shared_entry(self, plan: CacheRequest) -> CachedResponse:
        if self._shared is None or not plan.shared_name:
            return self.wrap(await plan.make(), public=plan.public)
        found = await self._shared.get(plan.shared_name)
        if found is not None:
            reply, made_at = found
            return self.wrap(reply, public=plan.public, age_seconds=max(0.0, self._clock.now() - made_at))
        reply = await plan.make()
        await self._shared.put(plan.shared_name, reply)
        return self.wrap(reply, public=plan.public)

    def wrap(
        self, reply: RenderedResponse, *, public: bool = False, age_seconds: float = 0.0
    ) -> CachedResponse:
        """An entry that is not kept."""
        now, now_unix, private = self._clock.monotonic(), self._clock.now(), self._private and not public
        entry = CachedResponse(
            reply, now=now, now_unix=now_unix - age_seconds, private=private, public=public
        )
        entry.made_at -= age_seconds
        return entry

    def _keep(self, key: Key, entry: CachedResponse) -> None:
        self._drop(key)
        # A kept entry grows by its compressed forms: count them from the start.
        size = 2 * entry.size_bytes
        if size > self._max_bytes:
            return
        self._entries[key] = (entry, size)
        self.size_bytes += size
        while self.size_bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: Key) -> None:
        _, size = self._entries.pop(key, (None, 0))
        self.size_bytes -= size

    async def aclose(self) -> None:
        """Give up what is being made."""
        await self._flights.aclose()
