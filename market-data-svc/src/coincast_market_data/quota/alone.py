"""The quota while Redis is away: this process's share of what was left, so that replicas together keep
the plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from coincast_market_data.ports import Priority
from coincast_market_data.quota.window import WINDOW_SECONDS, Limits, QuotaWindow, Verdict


class Alone:
    """Knows how many replicas there are and what they had used together when Redis was last heard."""

    def __init__(self, limits: Limits, replicas: int) -> None:
        self._limits = limits
        self._least_replicas = replicas
        self._replicas = replicas
        self._unreported: list[float] = []
        self._heard_at = float("-inf")
        self._left_then = limits.per_minute
        self._own_then = 0
        self.window = QuotaWindow(self._share(0.0))

    def learn(self, now: float, *, used: int, limit: int, replicas: int) -> None:
        """Redis told what all have used; the process's own count is taken beside it."""
        self._replicas = max(self._least_replicas, replicas)
        self._heard_at = now
        self._left_then = max(0, limit - used)
        self._own_then = self.window.used(now)

    def heard_within(self, now: float, seconds: float) -> bool:
        """Whether Redis answered so recently."""
        return now - self._heard_at < seconds

    def wait(self, now: float, seconds: float) -> Verdict:
        """Ask again in a moment."""
        return replace(self.window.look(now), granted=False, wait_seconds=seconds)

    def ask(self, now: float, priority: Priority) -> Verdict:
        """Grant and count one call out of this process's share."""
        self.window.limits = self._share(now)
        verdict = self.window.ask(now, priority)
        if verdict.granted:
            self._unreported.append(now)
        return verdict

    def take_unreported(self) -> Sequence[float]:
        """When calls were granted here that Redis does not know of."""
        taken, self._unreported = self._unreported, []
        return taken

    def give_back(self, moments: Sequence[float]) -> None:
        """They could not be told."""
        self._unreported = [*moments, *self._unreported]

    def _share(self, now: float) -> Limits:
        month = self._limits.per_month // self._replicas
        share = self._limits.per_minute // self._replicas
        if now - self._heard_at < WINDOW_SECONDS:
            # The minute in which Redis went is partly spent by all: what was left then is shared out.
            share = min(share, self._own_then + self._left_then // self._replicas)
        elif self._replicas == 1:
            share = self._limits.per_minute
        return Limits(max(share, 0), month)
