"""Circuit breakers, one for each group of CoinGecko's endpoints: failing charts do not block the prices."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

import coincast_chassis.observability.metrics
from coincast_chassis.clock import Clock
from coincast_chassis.resilience.breaker import CLOSED, HALF_OPEN, OPEN, Breaker
from coincast_market_data import metrics
from coincast_market_data.settings import Settings

GROUPS = ("prices", "markets", "lists", "series", "coin", "other")
STATE_NUMBERS = {CLOSED: 0, HALF_OPEN: 1, OPEN: 2}
log = structlog.get_logger(__name__)


class Breakers:
    """The breakers by group, with the reason of the last failure and how often each opened."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._breakers = {group: self._make(group, settings, clock) for group in GROUPS}
        self._reasons = dict.fromkeys(GROUPS, "")
        self._kinds = dict.fromkeys(GROUPS, "none")
        self._opened = dict.fromkeys(GROUPS, 0)
        for group in GROUPS:
            metrics.BREAKER_STATE.labels(breaker=group).set(0)

    def of(self, group: str) -> Breaker:
        """Return the breaker of a group; unknown groups share one."""
        return self._breakers.get(group, self._breakers["other"])

    def note(self, group: str, reason: str, kind: str) -> None:
        """Record why a call failed: a sentence for the status, a bounded label for the metrics.

        Args:
            group: The breaker's group of requests.
            reason: A sentence for the status.
            kind: A bounded label for metrics.
        """
        known = group if group in self._reasons else "other"
        self._reasons[known], self._kinds[known] = reason, kind

    def each(self) -> Iterable[tuple[str, Breaker, str, int]]:
        """Yield (group, breaker, reason of the last failure, times opened)."""
        for group, breaker in self._breakers.items():
            reason = self._reasons[group] if breaker.state != CLOSED else ""
            yield group, breaker, reason, self._opened[group]

    def _make(self, group: str, settings: Settings, clock: Clock) -> Breaker:
        return Breaker(
            group,
            fail_max=settings.breaker_failures,
            reset_seconds=settings.breaker_reset_seconds,
            min_calls=settings.breaker_min_calls,
            probe_seconds=settings.breaker_probe_seconds,
            clock=clock,
            listeners=(coincast_chassis.observability.metrics.watch_breaker, self._moved),
        )

    def _moved(self, name: str, before: str, to: str) -> None:
        metrics.BREAKER_STATE.labels(breaker=name).set(STATE_NUMBERS[to])
        metrics.BREAKER_TRANSITIONS.labels(breaker=name, to=to, reason=self._kinds[name]).inc()
        self._opened[name] += to == OPEN
        log.warning("breaker_state_changed", breaker=name, before=before, to=to, reason=self._reasons[name])
