"""The gateway as a process of its own, and callers so light that one test can hold ten thousand of them."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from coincast_stack.processes.ports import free_port
from tests.contract.gateway.fakes import World


@asynccontextmanager
async def running_gateway(there: World, **settings: object) -> AsyncIterator[tuple[int, Process]]:
    """(port, process) of a gateway over the fakes, killed at the end of the block where it still runs."""
    port = free_port()
    given = {
        "port": port, "metrics_port": 0, "redis_url": "", "log_level": "error", **there.targets, **settings,
    }  # fmt: skip
    environment = {**os.environ, **{f"GATEWAY_{name}".upper(): str(value) for name, value in given.items()}}
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "coincast_gateway", env=environment)
    try:
        await answers(port, process)
        yield port, process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def answers(port: int, process: Process) -> None:
    """Until it does."""
    async with asyncio.timeout(60):
        while True:
            assert process.returncode is None, f"the gateway ended with {process.returncode}"
            with suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                await reader.readuntil(b"\r\n\r\n")
                writer.close()
                return
            await asyncio.sleep(0.1)


def as_many_sockets_as_allowed() -> int:
    """Raise this process's limit as far as it goes, and say how far."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Caller(asyncio.Protocol):
    """One keep-alive connection; `received` gets the status of each reply."""

    def __init__(self, received: Callable[[bytes], None]) -> None:
        self._received = received
        self._buffer = b""
        self.waits = False
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True

    def ask(self, request: bytes) -> None:
        """Send it; one at a time."""
        self.waits = True
        self.transport.write(request)  # type: ignore[attr-defined]  # a write transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found or len(body) < int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]):
            return
        self._buffer, self.waits = b"", False
        self._received(head[9:12])


async def callers(port: int, count: int, received: Callable[[Caller, bytes], None]) -> list[Caller]:
    """So many connections, opened a few hundred at a time."""
    loop = asyncio.get_running_loop()

    async def one() -> Caller:
        def make() -> Caller:
            caller = Caller(lambda status: received(caller, status))
            return caller

        _, caller = await loop.create_connection(
            make,
            "127.0.0.1",
            port,
        )
        return caller

    opened: list[Caller] = []
    while len(opened) < count:
        opened += await asyncio.gather(*(one() for _ in range(min(250, count - len(opened)))))
    return opened
