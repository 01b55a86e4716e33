"""Background refresh of popular prices, and daily completion of the archive of the configured coins."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import date
from typing import Any

import structlog

from coincast_chassis.errors import CoincastError
from coincast_chassis.resilience.cancellation import cancel_and_wait
from coincast_market_data import metrics
from coincast_market_data.coingecko.plan_monitor import REFRESH_SECONDS
from coincast_market_data.history.candle_builder import last_closed_day
from coincast_market_data.jobs.backfill import BackfillJob
from coincast_market_data.ports import DataClock
from coincast_market_data.prices.service import PairPopularity, PriceService
from coincast_market_data.settings import Settings, UpstreamName

log = structlog.get_logger(__name__)
MONTH_SECONDS = 31 * 86_400
# The share of a month's calls that may be used for refreshing popular prices.
MONTH_SHARE = 0.5
MOST_PAIRS = 500
# How often the archive of the configured coins is completed, and how many days back.
COMPLETE_EVERY_SECONDS = 600.0
COMPLETE_DAYS = 365
OBSERVE_SECONDS = 5.0


def refresh_interval(fresh_seconds: float, per_month: int) -> float:
    """Return the seconds between refreshes: 90 % of the fresh window, or more if the plan requires it.

    Args:
        fresh_seconds: How long an entry is fresh.
        per_month: Calls a month of the plan; 0 means no limit.
    """
    paced = MONTH_SECONDS / (per_month * MONTH_SHARE) if per_month else 0.0
    return max(fresh_seconds * 0.9, paced)


class RefreshJobs:
    """Periodic jobs, which end with the service. A failed step is logged, and repeated in the next round.

    Args:
        settings: The settings of the service.
        clock: The upstream's clock, for the last closed day.
        prices: Refreshes prices.
        hot: The pairs that are requested often.
        backfill: Completes the archive.
        per_month: Calls a month of the plan; 0 means no limit.
        observe: Updates the gauges.
        read_plan: Reads the limits of the plan from CoinGecko.
    """

    def __init__(
        self,
        settings: Settings,
        clock: DataClock,
        *,
        prices: PriceService,
        hot: PairPopularity,
        backfill: BackfillJob,
        per_month: int,
        observe: Callable[[], Awaitable[None]],
        read_plan: Callable[[], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._prices = prices
        self._hot = hot
        self._backfill = backfill
        self._interval = refresh_interval(settings.prices_fresh_seconds, per_month)
        self._observe = observe
        self._read_plan = read_plan
        # The closed day up to which the archive of the configured coins was completed.
        self._completed_day: date | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, finish_warming: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start the jobs; a second call does nothing.

        The gauges are updated even if the settings turn the refresh off.

        Args:
            finish_warming: Repeats the failed steps of the cache warm-up.
        """
        if self._tasks:
            return
        loops = [finish_warming(), every(OBSERVE_SECONDS, self._observe, at_once=True)]
        if self._settings.upstream == UpstreamName.COINGECKO:
            loops.append(every(REFRESH_SECONDS, self._read_plan))
        if self._settings.background_refresh:
            loops.append(every(self._interval, self._refresh_hot))
            loops.append(every(COMPLETE_EVERY_SECONDS, self._complete_archive))
        self._tasks = [asyncio.create_task(loop) for loop in loops]

    async def _refresh_hot(self) -> None:
        pairs = self._hot.take(MOST_PAIRS)
        if pairs:
            metrics.REFRESHED.inc(len(pairs))
            await self._prices.refresh(pairs)

    async def _complete_archive(self) -> None:
        closed_day = last_closed_day(self._clock.now())
        if closed_day == self._completed_day or not self._settings.warm_ids:
            return
        failed = await self._fill(self._settings.warm_ids)
        if not failed:
            self._completed_day = closed_day

    async def _fill(self, ids: Sequence[str]) -> int:
        failed = 0
        async for step in self._backfill.run(ids, self._settings.warm_vs_currency, COMPLETE_DAYS):
            if step.failure is not None and step.failure.kind != "not_found":
                failed += 1
        return failed

    async def aclose(self) -> None:
        """Stop the jobs."""
        await cancel_and_wait(list(self._tasks))


async def every(seconds: float, step: Callable[[], Awaitable[None]], *, at_once: bool = False) -> None:
    """Repeat a step until cancelled. A failure is logged and does not end the loop.

    Args:
        seconds: The pause between two rounds.
        step: One round.
        at_once: Whether the first round starts without a pause.
    """
    if not at_once:
        await asyncio.sleep(seconds)
    while True:
        try:
            await step()
        except CoincastError as error:
            log.info("background_step_failed", reason=error.message)
        except Exception:
            # If the loop ended here, prices would silently become stale.
            log.exception("background_step_crashed")
        await asyncio.sleep(seconds)
