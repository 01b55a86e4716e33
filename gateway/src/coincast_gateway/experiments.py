"""Assign callers to sticky experiment buckets while an experiment runs."""

from __future__ import annotations

import asyncio
import zlib

from coincast_chassis.errors import CoincastError
from coincast_gateway.asgi_types import Scope
from coincast_gateway.auth.authenticator import auth_result
from coincast_gateway.auth.credentials import client_network
from coincast_gateway.clients.forecast import ForecastClient

POLL_SECONDS = 10.0
# Buckets of callers. Callers of one bucket share cached responses while an experiment runs, and forecast-svc
# assigns each bucket to a variant.
BUCKETS = 64


class ExperimentAssigner:
    """Assigns each caller to a bucket; one per process. The bucket depends on the caller alone."""

    def __init__(self) -> None:
        self.running = False

    def bucket(self, scope: Scope) -> str:
        """Return the caller's bucket, the same for all of its requests."""
        caller = auth_result(scope).caller
        if caller == "anonymous":
            client = scope.get("client")
            caller = client_network(client[0] if client else "")
        return f"group-{zlib.crc32(caller.encode()) % BUCKETS}"

    async def watch_forever(self, forecasts: ForecastClient) -> None:
        """Check periodically, until cancelled, whether any model has a challenger that receives traffic."""
        while True:
            try:
                models = (await forecasts.models(2.0)).models
            except CoincastError:
                await asyncio.sleep(POLL_SECONDS)
                continue
            variants = [variant for model in models for variant in model.variants]
            self.running = any(each.alias == "challenger" and each.share > 0 for each in variants)
            await asyncio.sleep(POLL_SECONDS)
