"""The standard gRPC health service, with one status for all services of a process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from coincast_chassis.observability import metrics
from coincast_chassis.resilience.cancellation import cancel_and_wait

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class _Watched(health.aio.HealthServicer):  # type: ignore[misc]  # the library has no types
    """The library's health servicer, extended so that its watch streams can be ended.

    A watch stream lasts as long as its connection. If the server's stop cancelled it, gRPC would log an
    unhandled error.
    """

    def __init__(self) -> None:
        super().__init__()
        self._ended = asyncio.Event()

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> None:  # noqa: N802 - gRPC's name
        """Stream each change of status until the client disconnects or `end` is called."""
        tasks = (
            asyncio.ensure_future(super().Watch(request, context)),
            asyncio.ensure_future(self._ended.wait()),
        )
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_and_wait(tasks)

    def end(self) -> None:
        """End every watch stream, including those that start later."""
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
        """Set the status of all services. Each may take a second: a stalled watcher must not delay a stop."""
        metrics.SERVING.set(int(yes))
        for name in self._names:
            try:
                async with asyncio.timeout(1):
                    await self._servicer.set(name, SERVING if yes else NOT_SERVING)
            except TimeoutError:
                continue

    def end(self) -> None:
        """End all watch streams, because the server stops."""
        self._servicer.end()
