"""The standard gRPC health service, moved for all services of a process together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from coincast_chassis.observability import metrics

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class _Watched(health.aio.HealthServicer):  # type: ignore[misc]  # the library has no types
    """The library's servicer, whose watches can be ended.

    A watch lives as long as its connection. Left to the server's stop it is cancelled in the middle, which
    gRPC logs as an unhandled error.
    """

    def __init__(self) -> None:
        super().__init__()
        self._ended = asyncio.Event()

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> None:  # noqa: N802 - gRPC's name
        """Tell each change until the caller leaves or the service ends."""
        tasks = (
            asyncio.ensure_future(super().Watch(request, context)),
            asyncio.ensure_future(self._ended.wait()),
        )
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def end(self) -> None:
        """Let every watch return, and those that still come."""
        self._ended.set()


class Health:
    """Health status under the empty name and the name of each service; NOT_SERVING at first."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = ("", *names)
        self._servicer = _Watched()

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

    def end(self) -> None:
        """Let those go who watch: the server stops."""
        self._servicer.end()
