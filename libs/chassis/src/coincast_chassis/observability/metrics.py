"""Prometheus metrics of the chassis, and the port that shows all metrics of the process.

Each package declares its own in a module `metrics.py`, named coincast_<service>_<thing>_<unit>, with few
values a label.
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from prometheus_client import Counter, Gauge, Histogram, Info, start_http_server

from coincast_chassis import context
from coincast_chassis.errors import Unavailable

LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

BUILD = Info("coincast_build", "Version of the running service; the value is 1.")
SERVING = Gauge("coincast_serving", "1 while the service says that it serves, 0 while it starts or drains.")
SERVER_CALLS = Counter(
    "coincast_grpc_server_calls",
    "gRPC calls answered, by method and status.",
    ["grpc_service", "method", "code"],
)
SERVER_SECONDS = Histogram(
    "coincast_grpc_server_duration_seconds",
    "Time from the arrival of a gRPC call to its answer.",
    ["grpc_service", "method"],
    buckets=LATENCY_BUCKETS,
)
SERVER_RUNNING = Gauge("coincast_grpc_server_running_calls", "gRPC calls being served now.", ["grpc_service"])
CLIENT_CALLS = Counter(
    "coincast_grpc_client_calls",
    "gRPC calls made to another service, by method and status.",
    ["grpc_service", "method", "code"],
)
CLIENT_SECONDS = Histogram(
    "coincast_grpc_client_duration_seconds",
    "Time that a gRPC call to another service took, retries included.",
    ["grpc_service", "method"],
    buckets=LATENCY_BUCKETS,
)
LOOP_LAG = Histogram(
    "coincast_event_loop_lag_seconds",
    "How late the event loop woke a task that had nothing to do.",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0),
)
TASKS = Gauge("coincast_event_loop_tasks", "Tasks of the event loop that have not ended.")
BREAKER_STATE = Gauge("coincast_breaker_state", "0 closed, 1 half-open, 2 open.", ["breaker"])
BREAKER_MOVES = Counter("coincast_breaker_transitions", "Changes of a breaker's state.", ["breaker", "to"])

DISK_FREE = Gauge("coincast_disk_free_bytes", "Free space where the service writes.", ["folder"])
DISK_SIZE = Gauge("coincast_disk_size_bytes", "Size of the disk where the service writes.", ["folder"])

_STATES = {"closed": 0, "half-open": 1, "open": 2}


def watch_breaker(name: str, _before: str, after: str) -> None:
    """Return a listener for `Breaker(listeners=...)`: keeps its state and counts its changes."""
    BREAKER_STATE.labels(name).set(_STATES[after])
    BREAKER_MOVES.labels(name, after).inc()


def watch_disk(name: str, path: Path) -> None:
    """Show size and free space of the disk under `path` at each scrape; the folder may come later."""
    root = path.absolute()

    def usage() -> tuple[int, int]:
        there = next(folder for folder in (root, *root.parents) if folder.exists())
        total, _, free = shutil.disk_usage(there)
        return total, free

    DISK_SIZE.labels(name).set_function(lambda: float(usage()[0]))
    DISK_FREE.labels(name).set_function(lambda: float(usage()[1]))


def exemplar() -> dict[str, str] | None:
    """Return the trace to hang on an observation, where the request has one."""
    trace_id = context.trace_id()
    return {"trace_id": trace_id} if trace_id else None


def observe_latency(latency: Histogram, seconds: float, trace_id: str = "") -> None:
    """Observe how long a request took, its trace id as exemplar: from a slow bucket to trace and logs.

    `latency` is a histogram or a child of one (`SECONDS.labels(route)`). Without `trace_id` the one bound to
    the running request is taken (`context.bind`); where there is none either, the figure is kept alone.
    gRPC calls are observed with it on both sides; an HTTP server calls it once a request.
    """
    labels = {"trace_id": trace_id} if trace_id else exemplar()
    latency.observe(seconds, labels)


def split_method(path: str) -> tuple[str, str]:
    """`/coincast.market.v1.MarketDataService/GetPrices` -> (`MarketDataService`, `GetPrices`)."""
    service, _, method = path.lstrip("/").partition("/")
    return service.rsplit(".", 1)[-1], method


def tell_build(service: str, distribution: str | None = None) -> str:
    """Fill coincast_build_info; returns the version."""
    try:
        version = metadata.version(distribution or f"coincast-{service}")
    except metadata.PackageNotFoundError:
        version = "unknown"
    BUILD.info({"version": version, "python": platform.python_version()})
    return version


@contextmanager
def metrics_port(host: str, port: int) -> Iterator[int]:
    """/metrics of this process on a port of its own (a thread of its own, so a busy loop still answers).

    Raises:
        Unavailable: The port cannot be opened.
    """
    try:
        server, thread = start_http_server(port, host)
    except OSError as error:
        raise Unavailable(f"Port {port} on {host} (metrics) cannot be listened on: is it in use?") from error
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=2)
