"""Warms the cache at the start."""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from coincast_chassis.errors import CoincastError
from coincast_market_data.background import Background
from coincast_market_data.catalogue import Catalogue
from coincast_market_data.housekeeping import Housekeeper
from coincast_market_data.ports import Upstream, UpstreamRequest
from coincast_market_data.prices.service import PriceService
from coincast_market_data.settings import Settings, UpstreamName

log = structlog.get_logger(__name__)
PATIENCE_SECONDS = 5.0


class Warmer:
    """`warm` is quick and never fails.

    A service whose upstream is away still has an archive and a cache to serve.
    """

    def __init__(
        self,
        upstream: Upstream,
        catalogue: Catalogue,
        prices: PriceService,
        settings: Settings,
        *,
        background: Background,
        keeper: Housekeeper,
    ) -> None:
        self._upstream = upstream
        self._catalogue = catalogue
        self._prices = prices
        self._settings = settings
        self._background = background
        self._keeper = keeper

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
                await self._first_fetches()
        self._keeper.start()
        if self._settings.background_refresh:
            self._background.start()

    async def _first_fetches(self) -> None:
        try:
            await self._upstream.fetch(UpstreamRequest("ping"))
            await self._catalogue.coins()
            await self._catalogue.currencies()
            if self._settings.warm_ids:
                await self._prices.get(self._settings.warm_ids, [self._settings.warm_vs_currency])
        except CoincastError as error:
            log.warning("the upstream did not warm the cache", reason=error.message)
