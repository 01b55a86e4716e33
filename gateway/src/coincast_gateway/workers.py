"""Several processes on one port: each is a whole gateway, Redis holds what they share.

uvicorn's own supervisor starts uvicorn's own server, which does not drain as the gateway must.
"""

import asyncio
import multiprocessing
import os
import signal
import socket
import tempfile
import time
from contextlib import ExitStack
from multiprocessing.process import BaseProcess
from types import FrameType

import uvloop
from prometheus_client import CollectorRegistry, multiprocess, start_http_server

from coincast_chassis.errors import Unavailable
from coincast_chassis.logs import get_logger
from coincast_chassis.telemetry import telemetry
from coincast_gateway.server import run
from coincast_gateway.settings import Settings

log = get_logger("coincast.gateway")
# prometheus_client writes to files there, from which one port can show all processes together.
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
PAUSE_SECONDS = 0.5


class Supervisor:
    """Keeps so many processes alive until a signal ends all of them."""

    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self._settings = settings
        self._listener = listener
        # Forked processes would share locks and gRPC's threads in whatever state they were.
        self._context = multiprocessing.get_context("spawn")
        self._processes: list[BaseProcess] = []
        self._stopping = False

    def run(self) -> None:
        """Start, watch, stop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self._processes = [self._started() for _ in range(self._settings.workers)]
        while not self._stopping:
            time.sleep(PAUSE_SECONDS)
            self._processes = [self._kept(process) for process in self._processes]
        self._end()

    def _started(self) -> BaseProcess:
        process = self._context.Process(target=work, args=(self._settings, self._listener))
        process.start()
        return process

    def _kept(self, process: BaseProcess) -> BaseProcess:
        if process.is_alive() or self._stopping:
            return process
        log.error("a worker died", pid=process.pid, exit_code=process.exitcode)
        return self._started()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True

    def _end(self) -> None:
        for process in self._processes:
            process.terminate()
        until = time.monotonic() + self._settings.not_serving_seconds + self._settings.drain_seconds + 5.0
        for process in self._processes:
            process.join(max(0.1, until - time.monotonic()))
            if process.is_alive():
                process.kill()


def run_workers(settings: Settings, listener: socket.socket) -> None:
    """Run until a signal ends all of them; their metrics stand together on the metrics port."""
    with ExitStack() as stack:
        # A fresh folder each time: files of processes that are gone would be added up as well.
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="coincast-metrics-"))
        os.environ[METRICS_FOLDER] = folder
        stack.callback(os.environ.pop, METRICS_FOLDER)
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # the library's lack
        try:
            server, _ = start_http_server(settings.metrics_port, settings.host, registry)
        except OSError as error:
            raise Unavailable(f"Port {settings.metrics_port} (metrics) cannot be listened on.") from error
        stack.callback(server.shutdown)
        Supervisor(settings, listener).run()


def work(settings: Settings, listener: socket.socket) -> None:
    """One process: the gateway on the socket that all share."""
    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    with telemetry("gateway", settings) as tracing, runner:
        runner.run(run(settings, listener, tracing))
