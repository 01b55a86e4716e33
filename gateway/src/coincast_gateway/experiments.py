"""Keeps a caller on one side of an A/B test, and all callers on one cached reply while there is none."""

from __future__ import annotations

import asyncio
import zlib

from coincast_chassis.errors import CoincastError
from coincast_gateway.asgi_types import Scope
from coincast_gateway.auth.credentials import client_network
from coincast_gateway.auth.dependencies import admission_of
from coincast_gateway.clients.forecast import ForecastClient

LOOK_SECONDS = 10.0
# So many groups of callers share a kept reply while a test runs; forecast-svc puts each group on one side.
GROUPS = 64


class ExperimentAssigner:
    """One per process."""

    def __init__(self) -> None:
        self.testing = False

    def of(self, scope: Scope) -> str:
        """The caller's group; empty while no test runs."""
        if not self.testing:
            return ""
        caller = admission_of(scope).caller
        if caller == "anonymous":
            client = scope.get("client")
            caller = client_network(client[0] if client else "")
        return f"group-{zlib.crc32(caller.encode()) % GROUPS}"

    async def watch_forever(self, forecasting: ForecastClient) -> None:
        """Look now and then whether any model has a challenger that takes traffic."""
        while True:
            try:
                models = (await forecasting.models(2.0)).models
            except CoincastError:
                await asyncio.sleep(LOOK_SECONDS)
                continue
            variants = [variant for model in models for variant in model.variants]
            self.testing = any(each.alias == "challenger" and each.share > 0 for each in variants)
            await asyncio.sleep(LOOK_SECONDS)
