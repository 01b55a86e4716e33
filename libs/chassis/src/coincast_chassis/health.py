"""The standard gRPC health service, moved for all services of a process together."""

import asyncio
from collections.abc import Sequence

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from coincast_chassis import metrics

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Health:
    """NOT_SERVING until told otherwise, under the empty name and each service's own."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = ("", *names)
        self._servicer = health.aio.HealthServicer()

    async def join(self, server: grpc.aio.Server) -> None:
        """Add the health service to a server that has not started."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)
        await self.serving(False)

    async def serving(self, yes: bool) -> None:
        """Tell all watchers. A watcher that does not read holds its lock; it must not hold up a stop."""
        metrics.SERVING.set(int(yes))
        for name in self._names:
            try:
                async with asyncio.timeout(1):
                    await self._servicer.set(name, SERVING if yes else NOT_SERVING)
            except TimeoutError:
                continue
