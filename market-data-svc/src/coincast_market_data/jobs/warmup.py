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
from coincast_market_data.item_errors import raise_if_worth_a_retry
from coincast_market_data.jobs.maintenance import MaintenanceJobs
from coincast_market_data.jobs.refresh import RefreshJobs
from coincast_market_data.ports import Priority, Upstream, UpstreamRequest
from coincast_market_data.prices.service import PriceService
from coincast_market_data.settings import Settings, UpstreamName

log = structlog.get_logger(__name__)
PATIENCE_SECONDS = 5.0
# Each retry costs a call: with this pause there are few per hour while the upstream is down.
FIRST_PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 600.0
Step = Callable[[], Awaitable[None]]


class CacheWarmer:
    """Warm the cache at startup; `warm` is quick and never fails, and failed steps are retried later.

    A service whose upstream is down can still serve from archive and cache.
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
            # In the order in which callers miss them, as a free plan allows few calls a minute.
            "plan": self._read_plan,
            "prices": self._fetch_prices,
            "currencies": self._list_currencies,
            "coins": self._list_coins,
        }

    async def warm(self) -> None:
        """Look up the plan, then fetch the configured coins' prices and the lists.

        The first reply of any step shows the upstream's clock and identity.
        """
        if self._settings.upstream == UpstreamName.SANDBOX:
            log.warning(
                "sandbox_upstream",
                note="every figure is replayed or simulated, none is a current price",
            )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._take_steps()
        self._keeper.start()
        self._background.start(self._until_warm)

    async def _until_warm(self) -> None:
        """Retry what was not fetched at the start, with growing pauses."""
        pause = FIRST_PAUSE_SECONDS
        while self._left:
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE_SECONDS, pause * 2)
            await self._take_steps()

    async def _take_steps(self) -> None:
        """Run the remaining steps; a failed step does not stop the others."""
        for name, step in list(self._left.items()):
            try:
                await step()
            except CoincastError as error:
                log.warning("warmup_step_failed", step=name, reason=error.message)
            else:
                del self._left[name]

    async def _read_plan(self) -> None:
        # The sandbox has no account to look up, unless the plan is to be found from the key.
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
            raise_if_worth_a_retry(found.failures)
