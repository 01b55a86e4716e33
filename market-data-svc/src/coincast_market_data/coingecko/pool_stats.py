"""Figures of the HTTP client's connection pool, for status and metrics."""

from __future__ import annotations

import httpcore2
import httpx2

from coincast_market_data.coingecko.client import HttpUpstream


class PoolStats:
    """Counts connections; zeros where the transport has no pool (a fake in a test)."""

    def __init__(self, http: httpx2.AsyncClient, upstream: HttpUpstream) -> None:
        self._http = http
        self._upstream = upstream

    def in_flight(self) -> int:
        """Return the number of calls in flight."""
        return self._upstream.in_flight

    def connections(self) -> tuple[int, int]:
        """Return (open connections, idle ones among them)."""
        # httpx2 shows its pool nowhere in public; a missing attribute must cost the figure, not the status.
        pool = getattr(getattr(self._http, "_transport", None), "_pool", None)
        if not isinstance(pool, httpcore2.AsyncConnectionPool):
            return 0, 0
        found = list(pool.connections)
        return len(found), sum(connection.is_idle() for connection in found)
