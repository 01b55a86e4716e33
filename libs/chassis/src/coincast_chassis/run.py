"""Run a gRPC service as a process, or inside a test."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NoReturn, TypeVar

import uvloop

from coincast_chassis.app import ServiceApp
from coincast_chassis.errors import CoincastError
from coincast_chassis.grpc.server import GrpcServer
from coincast_chassis.observability import metrics
from coincast_chassis.observability.logs import get_logger
from coincast_chassis.observability.loop_lag import watch_loop
from coincast_chassis.observability.telemetry import telemetry
from coincast_chassis.resilience.cancellation import cancel_and_wait
from coincast_chassis.settings import ServiceSettings, load_settings

Settings = TypeVar("Settings", bound=ServiceSettings)
Build = Callable[[Any, AsyncExitStack], Awaitable[ServiceApp]]
log = get_logger("coincast.run")


def run_service(name: str, settings_class: type[Settings], build: Build) -> NoReturn:
    """Run a service's process: load settings, build, warm up, serve, drain, close.

    Args:
        name: Name of the service.
        settings_class: Class of its settings.
        build: Builds the service from the settings; resources are released through the given exit stack.

    Raises:
        SystemExit: Always: 0 after SIGTERM or SIGINT, 2 if the settings or the machine need a change (one
            line on stderr says which). A crash ends the process with 1.
    """
    settings = load_settings(settings_class)
    with telemetry(name, settings):
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_main(name, settings, build))
        except CoincastError as error:
            sys.stderr.write(f"{name}: {error.message}\n")
            raise SystemExit(2) from None
    raise SystemExit(0)


async def _main(name: str, settings: ServiceSettings, build: Build) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    with metrics.metrics_port(settings.host, settings.metrics_port) as metrics_port:
        async with AsyncExitStack() as stack:
            lag = asyncio.create_task(watch_loop())
            stack.callback(lag.cancel)
            app = await build(settings, stack)
            async with _started(app, settings) as server:
                log.info("listening", address=server.address, metrics_port=metrics_port)
                await _warm_until_serving(server, stopped)
                if not stopped.is_set():
                    log.info("serving", address=server.address)
                await stopped.wait()
                log.info("stopping", drain_seconds=settings.drain_seconds)
        log.info("stopped", name=name)


async def _warm_until_serving(server: GrpcServer, stopped: asyncio.Event) -> None:
    """Warm up; retry while a dependency is unavailable, since it may still be starting."""
    pause_seconds = 0.5
    while not stopped.is_set():
        warming = asyncio.create_task(server.warm())
        stop = asyncio.create_task(stopped.wait())
        await asyncio.wait({warming, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not warming.done():
            await cancel_and_wait({warming})
            return
        try:
            warming.result()
        except CoincastError as error:
            log.warning("not_ready_yet", reason=error.message, retry_seconds=pause_seconds)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), pause_seconds)
            pause_seconds = min(pause_seconds * 2, 10.0)
        else:
            return


@asynccontextmanager
async def _started(app: ServiceApp, settings: ServiceSettings) -> AsyncIterator[GrpcServer]:
    server = GrpcServer(app, host=settings.host, port=settings.port)
    await server.start()
    try:
        yield server
    finally:
        await server.stop(
            not_serving_seconds=settings.not_serving_seconds, drain_seconds=settings.drain_seconds
        )


@asynccontextmanager
async def serve(
    name: str, settings: Settings, build: Callable[[Settings, AsyncExitStack], Awaitable[ServiceApp]]
) -> AsyncIterator[str]:
    """Warm up and serve in this process; for tests. It opens no metrics port, signals or telemetry.

    Args:
        name: Name of the service.
        settings: Its settings.
        build: Builds the service, as for `run_service`.

    Yields:
        The address, `host:port`.
    """
    async with AsyncExitStack() as stack:
        app = await build(settings, stack)
        async with _started(app, settings) as server:
            await server.warm()
            log.debug("serving_in_process", name=name, address=server.address)
            yield server.address
