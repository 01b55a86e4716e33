"""The gRPC server: options, registered services, start and drain."""

from __future__ import annotations

import asyncio
import time

import grpc.aio
from grpc_reflection.v1alpha import reflection

from coincast.common.v1.process_pb2_grpc import add_ProcessServiceServicer_to_server
from coincast_chassis.app import ServiceApp
from coincast_chassis.errors import Unavailable
from coincast_chassis.grpc.health import Health
from coincast_chassis.grpc.server_interceptor import ServerCalls
from coincast_chassis.observability.process_stats import FULL_NAME as PROCESS_SERVICE
from coincast_chassis.observability.process_stats import ProcessServicer
from coincast_chassis.observability.tracing import Tracing, current_tracing

MAX_MESSAGE_BYTES = 32 * 1024 * 1024
# Enough for every request: 250 ids of 200 characters are 50 KB. Parsing a 31 MB request took 880 MB.
MAX_REQUEST_BYTES = 1024 * 1024

SERVER_OPTIONS: list[tuple[str, int]] = [
    # With port reuse a second server would bind the same port silently and take half of the calls.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # Clients ping every 0.5 s to notice a frozen server; by default the server treats such pings as abuse.
    ("grpc.http2.min_ping_interval_without_data_ms", 200),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 200),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    # A client resolves names again only when a connection ends, so new replicas get traffic within this time
    # (plus a tenth, since gRPC adds jitter).
    ("grpc.max_connection_age_ms", 8_000),
]


class GrpcServer:
    """A server with the standard health and reflection services; `address` is its `host:port`."""

    def __init__(self, app: ServiceApp, *, host: str, port: int, tracing: Tracing | None = None) -> None:
        names = [servicer.full_name for servicer in app.servicers]
        self._app, self._health = app, Health(names)
        self._calls = ServerCalls(tracing or current_tracing())
        self._server = grpc.aio.server(interceptors=[self._calls], options=SERVER_OPTIONS)
        for servicer in app.servicers:
            servicer.add(servicer.implementation, self._server)
        add_ProcessServiceServicer_to_server(ProcessServicer(), self._server)
        reflection.enable_server_reflection(
            (*names, PROCESS_SERVICE, reflection.SERVICE_NAME, "grpc.health.v1.Health"), self._server
        )
        try:
            bound = self._server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            raise Unavailable(f"Port {port} on {host} cannot be listened on: is it in use?") from error
        self.address = f"{host}:{bound}"

    async def start(self) -> None:
        """Start to listen as NOT_SERVING, so that probes get an answer while the service warms up."""
        await self._health.join(self._server)
        await self._server.start()

    async def warm(self) -> None:
        """Run the service's warm-up, then report SERVING."""
        if self._app.warm is not None:
            await self._app.warm()
        await self._health.serving(True)

    async def stop(self, *, not_serving_seconds: float, drain_seconds: float) -> None:
        """Report NOT_SERVING, wait until clients have seen it, let calls in flight end, then close.

        Args:
            not_serving_seconds: How long no call may have arrived before the drain starts.
            drain_seconds: Limit for calls in flight; half of it also limits the wait before the drain.
        """
        await self._health.serving(False)
        await self._until_quiet(not_serving_seconds, drain_seconds / 2)
        self._health.end()
        if self._app.drain is not None:
            self._app.drain()
        await self._server.stop(drain_seconds)

    async def _until_quiet(self, quiet_seconds: float, limit_seconds: float) -> None:
        """Wait until no call has arrived for `quiet_seconds`: on a busy machine calls may arrive late."""
        began = time.monotonic()
        while (now := time.monotonic()) < began + quiet_seconds + limit_seconds:
            left = max(began, self._calls.last_at) + quiet_seconds - now
            if left <= 0:
                return
            await asyncio.sleep(left)
