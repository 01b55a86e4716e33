"""Warm the cache at startup."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from coincast_chassis.errors import CoincastError
from coincast_market_data.catalogue.service import Catalogue
from coincast_market_data.coingecko.api_plans import PlanName
from coincast_market_data.coingecko.plan_monitor import PlanMonitor
from coincast_market_data.item_errors import raise_first_transient
from coincast_market_data.jobs.maintenance import MaintenanceJobs
from coincast_market_data.jobs.refresh import RefreshJobs
from coincast_market_data.ports import Priority, Upstream, UpstreamRequest
from coincast_market_data.prices.service import PriceService
from coincast_market_data.settings import Settings, UpstreamName

log = structlog.get_logger(__name__)
# How long the service waits for the first warm-up before it reports ready.
WARM_SECONDS = 5.0
# The pauses between retries of failed steps. They are long, since each retry costs a call of the plan.
FIRST_PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 600.0
Step = Callable[[], Awaitable[None]]


class CacheWarmer:
    """Warms the cache at startup. Failed steps are retried in the background.

    `warm` takes at most 5 s and does not fail, since a service whose upstream is down can still serve from
    archive and cache.
    """

    def __init__(
        self,
        upstream: Upstream,
        catalogue: Catalogue,
        prices: PriceService,
        settings: Settings,
        *,
        plan_monitor: PlanMonitor,
        background: RefreshJobs,
        keeper: MaintenanceJobs,
    ) -> None:
        self._upstream = upstream
        self._catalogue = catalogue
        self._prices = prices
        self._settings = settings
        self._plan_monitor = plan_monitor
        self._background = background
        self._keeper = keeper
        self._left: dict[str, Step] = {
            # The most needed first, since a free plan allows only few calls a minute.
            "plan": self._read_plan,
            "prices": self._fetch_prices,
            "currencies": self._list_currencies,
            "coins": self._list_coins,
        }

    async def warm(self) -> None:
        """Read the plan, fetch the prices of the configured coins and the lists, and start the periodic jobs.

        The first reply of a step also sets the upstream's clock and verifies its kind. If `make run` found
        that CoinGecko cannot be had, all steps run in the background.
        """
        if self._settings.upstream == UpstreamName.SANDBOX:
            log.warning(
                "sandbox_upstream",
                note="all figures are replayed or simulated, not current prices",
            )
        # The service reports the cause at once if CoinGecko could not be had just before the start.
        if not self._settings.known_refusal:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WARM_SECONDS):
                    await self._run_steps()
        self._keeper.start()
        self._background.start(self._retry_failed_steps)

    async def _retry_failed_steps(self) -> None:
        """Retry the steps that failed at the start, with growing pauses."""
        pause = FIRST_PAUSE_SECONDS
        while self._left:
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE_SECONDS, pause * 2)
            await self._run_steps()

    async def _run_steps(self) -> None:
        """Run the remaining steps; a failed step does not stop the others."""
        for name, step in list(self._left.items()):
            try:
                await step()
            except CoincastError as error:
                log.warning("warmup_step_failed", step=name, reason=error.message)
            else:
                del self._left[name]

    async def _read_plan(self) -> None:
        # A sandbox has no account, but it can imitate the detection of the plan.
        if self._settings.upstream == UpstreamName.COINGECKO or self._settings.plan == PlanName.AUTO:
            await self._plan_monitor.refresh()

    async def _list_coins(self) -> None:
        await self._catalogue.coins()

    async def _list_currencies(self) -> None:
        await self._catalogue.currencies()

    async def _fetch_prices(self) -> None:
        ids = self._settings.warm_ids
        if not ids:
            await self._upstream.fetch(UpstreamRequest("ping", priority=Priority.REFRESH))
        else:
            found = await self._prices.get(ids, [self._settings.warm_vs_currency])
            raise_first_transient(found.failures)
