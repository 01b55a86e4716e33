"""What the quota's script answers."""

from __future__ import annotations

from dataclasses import dataclass

from coincast_market_data.quota.window import Verdict


@dataclass(frozen=True, slots=True)
class Reply:
    """The numbers in the order of `grant.lua`; times in milliseconds."""

    granted: int
    wait_ms: int
    minute_used: int
    minute_limit: int
    month_used: int
    paused_ms: int
    replicas: int
    reserve: int
    # When the Redis that answers began to count; another number after it came back empty.
    born: int
    settled: int

    def verdict(self) -> Verdict:
        """For the caller."""
        return Verdict(
            bool(self.granted),
            self.wait_ms / 1000,
            self.minute_used,
            self.minute_limit,
            self.month_used,
            self.paused_ms / 1000,
        )
