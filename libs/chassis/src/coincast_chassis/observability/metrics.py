"""Prometheus metrics of the chassis, and the HTTP port that exposes all metrics of the process.

Each package declares its own metrics in a module `metrics.py`. They are named
coincast_<service>_<thing>_<unit>, and each label has few values.
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
SERVING = Gauge("coincast_serving", "1 while the service reports SERVING, 0 while it starts or drains.")
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
    "Delay of the event loop in waking a task after its sleep.",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0),
)
TASKS = Gauge("coincast_event_loop_tasks", "Unfinished tasks of the event loop.")
BREAKER_STATE = Gauge("coincast_breaker_state", "0 closed, 1 half-open, 2 open.", ["breaker"])
BREAKER_MOVES = Counter("coincast_breaker_transitions", "Changes of a breaker's state.", ["breaker", "to"])

DISK_FREE = Gauge("coincast_disk_free_bytes", "Free space where the service writes.", ["folder"])
DISK_SIZE = Gauge("coincast_disk_size_bytes", "Size of the disk where the service writes.", ["folder"])

_STATES = {"closed": 0, "half-open": 1, "open": 2}


def watch_breaker(name: str, _before: str, after: str) -> None:
    """Record the state of a breaker and count the change; pass it to `Breaker(listeners=...)`."""
    BREAKER_STATE.labels(name).set(_STATES[after])
    BREAKER_MOVES.labels(name, after).inc()


def watch_disk(name: str, path: Path) -> None:
    """Report size and free space of the disk under `path` at each scrape; the folder need not exist yet."""
    root = path.absolute()

    def usage() -> tuple[int, int]:
        there = next(folder for folder in (root, *root.parents) if folder.exists())
        total, _, free = shutil.disk_usage(there)
        return total, free

    DISK_SIZE.labels(name).set_function(lambda: float(usage()[0]))
    DISK_FREE.labels(name).set_function(lambda: float(usage()[1]))


def exemplar() -> dict[str, str] | None:
    """Return the exemplar of an observation: the trace id of the running request, None if it has none."""
    trace_id = context.trace_id()
    return {"trace_id": trace_id} if trace_id else None


def observe_latency(latency: Histogram, seconds: float, trace_id: str = "") -> None:
    """Record how long a request took, with its trace id as exemplar, which links a slow bucket to its trace.

    gRPC clients and servers call it for each call; an HTTP server calls it once per request.

    Args:
        latency: A histogram or a child of one (`SECONDS.labels(route)`).
        seconds: Duration of the request.
        trace_id: Trace id of the request. By default the one bound to the running request (`context.bind`);
            without either, no exemplar is recorded.
    """
    labels = {"trace_id": trace_id} if trace_id else exemplar()
    latency.observe(seconds, labels)


def split_method(path: str) -> tuple[str, str]:
    """Split `/coincast.market.v1.MarketDataService/GetPrices` into (`MarketDataService`, `GetPrices`)."""
    service, _, method = path.lstrip("/").partition("/")
    return service.rsplit(".", 1)[-1], method


def tell_build(service: str, distribution: str | None = None) -> str:
    """Set coincast_build_info; return the version of the service, "unknown" if it is not installed."""
    try:
        version = metadata.version(distribution or f"coincast-{service}")
    except metadata.PackageNotFoundError:
        version = "unknown"
    BUILD.info({"version": version, "python": platform.python_version()})
    return version


@contextmanager
def metrics_port(host: str, port: int) -> Iterator[int]:
    """Serve /metrics of this process on a separate port, from a thread, so that a busy loop still answers.

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
