"""Warms the cache at the start."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from coincast_chassis.errors import CoincastError
from coincast_market_data.catalogue.service import Catalogue
from coincast_market_data.item_errors import raise_if_worth_a_retry
from coincast_market_data.jobs.maintenance import MaintenanceJobs
from coincast_market_data.jobs.refresh import RefreshJobs
from coincast_market_data.ports import Upstream, UpstreamRequest
from coincast_market_data.prices.service import PriceService
from coincast_market_data.settings import Settings, UpstreamName

log = structlog.get_logger(__name__)
PATIENCE_SECONDS = 5.0
# What is tried again costs a call each time: few an hour, should the upstream stay away.
FIRST_PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 600.0
Step = Callable[[], Awaitable[None]]


class CacheWarmer:
    """`warm` is quick and never fails: what it cannot fetch is tried again behind the callers.

    A service whose upstream is away still has an archive and a cache to serve.
    """

    def __init__(
        self,
        upstream: Upstream,
        catalogue: Catalogue,
        prices: PriceService,
        settings: Settings,
        *,
        background: RefreshJobs,
        keeper: MaintenanceJobs,
    ) -> None:
        self._upstream = upstream
        self._catalogue = catalogue
        self._prices = prices
        self._settings = settings
        self._background = background
        self._keeper = keeper
        self._left: dict[str, Step] = {
            "greeting": self._greet,
            "coins": self._list_coins,
            "currencies": self._list_currencies,
            "prices": self._fetch_prices,
        }

    async def warm(self) -> None:
        """Greet the upstream, which tells its clock and what it is; then fetch lists and the configured
        coins.
        """
        if self._settings.upstream == UpstreamName.SANDBOX:
            log.warning(
                "MARKET_UPSTREAM=sandbox: every figure is replayed or invented, none is a price of today"
            )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._take_steps()
        self._keeper.start()
        self._background.start(self._until_warm)

    async def _until_warm(self) -> None:
        """What was not fetched at the start is tried again, ever more seldom."""
        pause = FIRST_PAUSE_SECONDS
        while self._left:
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE_SECONDS, pause * 2)
            await self._take_steps()

    async def _take_steps(self) -> None:
        """Each step that is left; one that fails costs the others nothing."""
        for name, step in list(self._left.items()):
            try:
                await step()
            except CoincastError as error:
                log.warning("the upstream did not warm the cache", step=name, reason=error.message)
            else:
                del self._left[name]

    async def _greet(self) -> None:
        await self._upstream.fetch(UpstreamRequest("ping"))

    async def _list_coins(self) -> None:
        await self._catalogue.coins()

    async def _list_currencies(self) -> None:
        await self._catalogue.currencies()

    async def _fetch_prices(self) -> None:
        ids = self._settings.warm_ids
        if ids:
            found = await self._prices.get(ids, [self._settings.warm_vs_currency])
            raise_if_worth_a_retry(found.failures)
