"""Worker processes on one port. Each is a whole gateway; shared state is in Redis.

uvicorn's supervisor is not used, since it can only start uvicorn's own server, which does not drain.
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
# The environment variable that names a folder: prometheus_client writes the metrics of each process to files
# there, so that one port can serve the metrics of all of them.
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
PAUSE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Worker:
    """A process, whether it ever served, and whether it replaces one that did."""

    process: BaseProcess
    up: ctypes.c_bool
    is_replacement: bool


class Supervisor:
    """Keeps the configured number of processes running until a signal ends them or one cannot start."""

    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self._settings = settings
        self._listener = listener
        # A forked process would inherit locks that may be held, and gRPC without its threads.
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[Worker] = []
        self._stopping = False
        self._exit_code = 0

    def run(self) -> int:
        """Start the workers, replace those that die, and return the exit code.

        Returns:
            0 after a signal; the exit code of the worker if one could not start.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self._workers = [self._start_worker(is_replacement=False) for _ in range(self._settings.workers)]
        while not self._stopping:
            time.sleep(PAUSE_SECONDS)
            self._workers = [self._replace_if_dead(worker) for worker in self._workers]
        self._terminate_all()
        return self._exit_code

    def _start_worker(self, *, is_replacement: bool) -> Worker:
        # The value has no lock: a process that dies while holding one would block the supervisor.
        up = self._context.RawValue(ctypes.c_bool, False)
        process = self._context.Process(target=worker_main, args=(self._settings, self._listener, up))
        process.start()
        return Worker(process, up, is_replacement)

    def _replace_if_dead(self, worker: Worker) -> Worker:
        process = worker.process
        if process.is_alive() or self._stopping:
            return worker
        log.error("worker_died", pid=process.pid, exit_code=process.exitcode)
        if not worker.up.value and not (worker.is_replacement and self._any_serves()):
            # A worker that never became ready would fail again. Exit, so that the port does not stay open
            # without a server.
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
        # A new folder at each start: prometheus_client also adds up the files of processes that have ended.
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


def worker_main(settings: Settings, listener: socket.socket, up: ctypes.c_bool) -> None:
    """Run one worker process: the gateway on the shared socket.

    It exits with 2 if it cannot start until a setting or the machine is changed.

    Args:
        settings: The settings of the gateway.
        listener: The listening socket that all workers share.
        up: Set to True once the worker serves; shared with the supervisor.
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
