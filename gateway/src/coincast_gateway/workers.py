"""Worker processes on one port: each is a whole gateway, Redis holds their shared state.

uvicorn's own supervisor starts uvicorn's own server, which does not drain as the gateway must.
"""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from types import FrameType

import uvloop
from prometheus_client import CollectorRegistry, multiprocess, start_http_server

from coincast_chassis.errors import CoincastError, Unavailable
from coincast_chassis.observability.logs import get_logger
from coincast_chassis.observability.telemetry import telemetry
from coincast_gateway.server import run
from coincast_gateway.settings import Settings

log = get_logger("coincast.gateway")
# prometheus_client writes to files there, from which one port can show all processes together.
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
PAUSE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Worker:
    """A process, whether it ever served, and whether it replaces one that did."""

    process: BaseProcess
    up: ctypes.c_bool
    is_replacement: bool


class Supervisor:
    """Keeps the configured number of processes alive until a signal ends them, or the start fails."""

    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self._settings = settings
        self._listener = listener
        # Forked processes would share locks and gRPC's threads in whatever state they were.
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[Worker] = []
        self._stopping = False
        self._exit_code = 0

    def run(self) -> int:
        """Start, watch, stop. The exit code: 0 after a signal, a worker's own where it could not start."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self._workers = [self._start_worker(is_replacement=False) for _ in range(self._settings.workers)]
        while not self._stopping:
            time.sleep(PAUSE_SECONDS)
            self._workers = [self._replace_if_dead(worker) for worker in self._workers]
        self._terminate_all()
        return self._exit_code

    def _start_worker(self, *, is_replacement: bool) -> Worker:
        # Shared memory without a lock: a process that dies holding one would block the supervisor.
        up = self._context.RawValue(ctypes.c_bool, False)
        process = self._context.Process(target=work, args=(self._settings, self._listener, up))
        process.start()
        return Worker(process, up, is_replacement)

    def _replace_if_dead(self, worker: Worker) -> Worker:
        process = worker.process
        if process.is_alive() or self._stopping:
            return worker
        log.error("worker_died", pid=process.pid, exit_code=process.exitcode)
        if not worker.up.value and not (worker.is_replacement and self._any_serves()):
            # Do not restart a worker that never became ready; exit instead of holding the port.
            code = process.exitcode or 1
            self._exit_code = code if code > 0 else 128 - code
            self._stopping = True
            return worker
        return self._start_worker(is_replacement=True)

    def _any_serves(self) -> bool:
        return any(worker.up.value and worker.process.is_alive() for worker in self._workers)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True

    def _terminate_all(self) -> None:
        processes = [worker.process for worker in self._workers]
        for process in processes:
            process.terminate()
        until = time.monotonic() + self._settings.not_serving_seconds + self._settings.drain_seconds + 5.0
        for process in processes:
            process.join(max(0.1, until - time.monotonic()))
            if process.is_alive():
                process.kill()


def run_workers(settings: Settings, listener: socket.socket) -> int:
    """Run until a signal ends all workers or one cannot start; return the exit code.

    Their metrics are served together on the metrics port.

    Raises:
        Unavailable: The metrics port cannot be opened.
    """
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
        return Supervisor(settings, listener).run()


def work(settings: Settings, listener: socket.socket, up: ctypes.c_bool) -> None:
    """Run one worker process: the gateway on the shared socket.

    Exits with 2 where settings or machine need a change.
    """

    def on_up() -> None:
        up.value = True

    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    with telemetry("gateway", settings) as tracing, runner:
        try:
            runner.run(run(settings, listener, tracing, on_up))
        except CoincastError as error:
            sys.stderr.write(f"gateway: {error.message}\n")
            raise SystemExit(2) from None
