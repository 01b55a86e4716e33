"""A system for tests of the stack: its processes only sleep, and servers in this process answer for them."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import grpc

from coincast.market.v1 import market_pb2 as mk
from coincast.market.v1 import market_pb2_grpc as mk_rpc
from coincast.training.v1 import training_pb2 as tr
from coincast.training.v1 import training_pb2_grpc as tr_rpc
from coincast_stack.environment import SERVICES, Ports
from coincast_stack.layout import StackLayout
from coincast_stack.options import StackOptions, Upstream
from coincast_stack.processes.child import Command
from coincast_stack.processes.ports import free_ports
from coincast_stack.processes.reaper_client import ReaperClient
from coincast_stack.stack import Stack, running_layout

SLEEP = ("sleep", "60")
NOTHING = (404, b"{}")


@dataclass
class Replies:
    """Scripted replies of an HTTP server: by the whole target of the request, else by its path.

    Attributes:
        by_path: Status and body.
        first: Replies that are given before those, each once.
        requested: Target of each request.
    """

    by_path: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    first: dict[str, list[tuple[int, bytes]]] = field(default_factory=dict)
    requested: list[str] = field(default_factory=list)

    def reply(self, target: str) -> tuple[int, bytes]:
        """Record a request and return its reply."""
        self.requested.append(target)
        if self.first.get(target):
            return self.first[target].pop(0)
        path = target.partition("?")[0]
        return self.by_path.get(target) or self.by_path.get(path, NOTHING)


@asynccontextmanager
async def http_server(replies: Replies, port: int = 0) -> AsyncIterator[str]:
    """Answer GET requests; yield the root URL."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError), contextlib.closing(writer):
            status, body = replies.reply((await reader.readuntil(b"\r\n\r\n")).split()[1].decode())
            head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()

    async with await asyncio.start_server(answer, "127.0.0.1", port) as listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def redis_server(port: int = 0, *, pong: bytes = b"+PONG\r\n") -> AsyncIterator[int]:
    """Answer the commands with which a client connects, and PING; yield the port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError), contextlib.closing(writer):
            while True:
                count = int((await reader.readuntil(b"\r\n"))[1:])
                words = []
                for _ in range(count):
                    length = int((await reader.readuntil(b"\r\n"))[1:])
                    words.append((await reader.readexactly(length + 2))[:-2].upper())
                writer.write({b"PING": pong, b"HELLO": b"%0\r\n"}.get(words[0], b"+OK\r\n"))
                await writer.drain()

    async with await asyncio.start_server(answer, "127.0.0.1", port) as listening:
        yield listening.sockets[0].getsockname()[1]


class FakeMarket(mk_rpc.MarketDataServiceServicer):
    """The market-data service, of which only the status is requested."""

    def __init__(self) -> None:
        self.status = mk.GetStatusResponse(plan="demo")

    async def GetStatus(self, request: mk.GetStatusRequest, context: Any) -> mk.GetStatusResponse:
        return self.status


class FakeTraining(tr_rpc.TrainingServiceServicer):
    """The training service, of which only the newest job of a model is requested."""

    def __init__(self) -> None:
        self.jobs: dict[str, tr.Job] = {}
        self.requests: list[tr.ListJobsRequest] = []

    async def ListJobs(self, request: tr.ListJobsRequest, context: Any) -> tr.ListJobsResponse:
        self.requests.append(request)
        return tr.ListJobsResponse(jobs=[self.jobs[request.model]] if request.model in self.jobs else [])


@asynccontextmanager
async def grpc_server(
    port: int = 0, *, market: FakeMarket | None = None, training: FakeTraining | None = None
) -> AsyncIterator[str]:
    """Serve the given fakes; yield the address."""
    server = grpc.aio.server()
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    if market is not None:
        mk_rpc.add_MarketDataServiceServicer_to_server(market, server)
    if training is not None:
        tr_rpc.add_TrainingServiceServicer_to_server(training, server)
    await server.start()
    try:
        yield f"127.0.0.1:{bound}"
    finally:
        await server.stop(None)


@contextmanager
def kept_signal_handlers() -> Iterator[None]:
    """Restore the handlers of signals that a command installs and an event loop resets to the default."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    kept = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


class NoReaper(ReaperClient):
    """A reaper without a process, for stacks that start none."""

    def __init__(self) -> None:
        pass


@dataclass
class FakeSystem:
    """The plan of a stack and what its services answer.

    Attributes:
        layout: The plan: every process sleeps.
        gateway: Replies of the gateway.
        sandbox: Replies of the sandbox.
        market: The market-data service.
        training: The training service.
        launched: The options of each launch.
    """

    layout: StackLayout
    gateway: Replies = field(default_factory=Replies)
    sandbox: Replies = field(default_factory=lambda: Replies({"/sandbox/health": (200, b"{}")}))
    market: FakeMarket = field(default_factory=FakeMarket)
    training: FakeTraining = field(default_factory=FakeTraining)
    launched: list[StackOptions] = field(default_factory=list)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Answer on the ports of the layout."""
        ports = self.layout.ports
        async with AsyncExitStack() as open_servers:
            await open_servers.enter_async_context(http_server(self.gateway, ports.gateway))
            await open_servers.enter_async_context(http_server(self.sandbox, ports.sandbox))
            await open_servers.enter_async_context(redis_server(ports.redis))
            await open_servers.enter_async_context(grpc_server(ports.market, market=self.market))
            await open_servers.enter_async_context(grpc_server(ports.training, training=self.training))
            yield

    @asynccontextmanager
    async def launch(self, options: StackOptions) -> AsyncIterator[Stack]:
        """Start the processes of the layout, whatever the options; replaces `running_stack`."""
        self.launched.append(options)
        async with running_layout(self.layout, options.var_dir) as stack:
            yield stack

    def idle_stack(self) -> Stack:
        """Return a stack whose processes are not started."""
        return Stack(self.layout, NoReaper())

    def use_coingecko(self) -> None:
        """Plan a stack without a sandbox."""
        self.layout = replace(self.layout, upstream=Upstream.COINGECKO, sandbox=None)

    def run_instead(self, name: str, arguments: Sequence[str]) -> None:
        """Plan other arguments for a process."""
        command = Command(name, arguments)
        if name == "redis":
            self.layout = replace(self.layout, redis=command)
        elif name == "sandbox":
            self.layout = replace(self.layout, sandbox=command)
        else:
            self.layout = replace(self.layout, services={**self.layout.services, name: command})

    def serve_models(self, *names: str) -> None:
        """Answer as a gateway that is ready and serves a version of these models."""
        listed = ", ".join(f'{{"model": "{name}", "version": "v000001"}}' for name in names)
        self.gateway.by_path |= {
            "/health": (200, b"{}"),
            "/health/ready": (200, b"{}"),
            "/forecasts/models": (200, f'{{"models": [{listed}]}}'.encode()),
        }
        for name in names:
            aliases = self.layout.state_dir / "artifacts" / name / "aliases.json"
            aliases.parent.mkdir(parents=True, exist_ok=True)
            aliases.write_text("{}")


def planned_system(state_dir: Path) -> FakeSystem:
    """Return a system with a sandbox and an embedded Redis, on free ports."""
    ports = Ports(*free_ports(len(fields(Ports))))
    layout = StackLayout(
        upstream=Upstream.SANDBOX,
        state_dir=state_dir,
        ports=ports,
        redis_url=f"redis://127.0.0.1:{ports.redis}/0",
        redis=Command("redis", SLEEP),
        redis_password="s3cret",
        sandbox=Command("sandbox", SLEEP),
        services={name: Command(name, SLEEP) for name in SERVICES},
    )
    return FakeSystem(layout)


@asynccontextmanager
async def fake_system(state_dir: Path) -> AsyncIterator[FakeSystem]:
    """Run the servers of a system; nothing is launched yet."""
    system = planned_system(state_dir)
    async with system.serving():
        yield system
