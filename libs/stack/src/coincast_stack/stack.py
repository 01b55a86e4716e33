"""A stack: all services of Coincast as processes on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import fields
from pathlib import Path

from coincast_stack.environment import SERVICES, Ports
from coincast_stack.errors import SETUP_EXIT_CODE, ChildDeathError, SetupError, StackError
from coincast_stack.layout import REDIS_CONFIG, StackLayout, build_layout, inherited, redis_config
from coincast_stack.options import StackOptions
from coincast_stack.processes.child import Child, Command
from coincast_stack.processes.ports import ensure_free, free_ports
from coincast_stack.processes.probes import accepts_connections, answers_http, answers_redis
from coincast_stack.processes.reaper_client import ReaperClient
from coincast_stack.state_file import RunningStack, published
from coincast_stack.upstream.choice import choose_upstream

START_SECONDS = 20.0
# Started before the other services, for at most so long.
FIRST_SERVICES = ("market", "gateway")
HEAD_START_SECONDS = 3.0


class Stack:
    """The running processes by name: redis and sandbox (if used), market, training, forecast, gateway."""

    def __init__(self, layout: StackLayout, reaper: ReaperClient) -> None:
        self.layout = layout
        self.children: dict[str, Child] = {}
        self._reaper = reaper
        self._stopping = False

    @property
    def gateway_url(self) -> str:
        """Return the root URL of the REST API."""
        return f"http://127.0.0.1:{self.layout.ports.gateway}"

    @property
    def sandbox_url(self) -> str | None:
        """Return the root URL of the sandbox, without /api/v3; None if CoinGecko is used."""
        return f"http://127.0.0.1:{self.layout.ports.sandbox}" if self.layout.sandbox else None

    def target(self, service: str) -> str:
        """Return the gRPC address of market, forecast or training."""
        return f"127.0.0.1:{getattr(self.layout.ports, service)}"

    def metrics_url(self, service: str) -> str:
        """Return the URL of a service's Prometheus metrics."""
        return f"http://127.0.0.1:{getattr(self.layout.ports, f'{service}_metrics')}/metrics"

    @property
    def log_dir(self) -> Path:
        """Return the folder of logs, with one file per process."""
        return self.layout.state_dir / "logs"

    async def start(self) -> None:
        """Start Redis and the sandbox, then all services together.

        Raises:
            ChildDeathError: A process ended during the start.
            SetupError: The given Redis does not answer.
            StackError: The embedded Redis or the sandbox does not answer in time.
        """
        if self.layout.redis:
            await self._start_and_await(self.layout.redis, lambda: answers_redis(self.layout.redis_url))
        elif not await answers_redis(self.layout.redis_url):
            raise SetupError("the Redis of REDIS_URL does not answer; start it, or leave REDIS_URL out")
        if self.layout.sandbox:
            await self._start_and_await(
                self.layout.sandbox, lambda: answers_http(f"{self.sandbox_url}/sandbox/health")
            )
        for name in FIRST_SERVICES:
            await self._start(self.layout.services[name])
        # On a machine with few processors these have it to themselves: they tell whether CoinGecko answers.
        await self._await_market()
        for name in SERVICES:
            if name not in FIRST_SERVICES:
                await self._start(self.layout.services[name])

    async def _await_market(self) -> None:
        """Wait until market-data accepts connections, for a moment at most.

        Raises:
            ChildDeathError: A process ended since a setting must be changed: no other needs to start.
        """
        deadline = asyncio.get_running_loop().time() + HEAD_START_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            self._raise_if_refused()
            if await accepts_connections("127.0.0.1", self.layout.ports.market):
                return
            await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """Stop all processes in order within ten seconds; kill those that do not end in time."""
        self._stopping = True
        await self._stop_together(["gateway"], 2.5)
        await self._stop_together(["forecast", "training", "market"], 3.5)
        await self._stop_together(["sandbox", "redis"], 1.0)

    async def kill(self, name: str) -> None:
        """Kill a process and its children."""
        await self.children[name].kill()

    async def restart(self, name: str) -> None:
        """Restart a process on its old port; end it first if it still runs."""
        await self.children[name].kill()
        await self._start(self.children[name].command)

    def raise_if_dead(self) -> None:
        """Raise ChildDeathError if a process ended unexpectedly."""
        for child in self.children.values():
            if child.exit_code is not None and not self._stopping:
                raise ChildDeathError(child.name, child.exit_code, child.last_lines())

    def _raise_if_refused(self) -> None:
        """Raise ChildDeathError if a process ended since a setting must be changed first."""
        for child in self.children.values():
            if child.exit_code == SETUP_EXIT_CODE:
                raise ChildDeathError(child.name, SETUP_EXIT_CODE, child.last_lines())

    async def _start(self, command: Command) -> Child:
        child = await Child.start(command, self.log_dir, self._reaper, inherited())
        self.children[command.name] = child
        return child

    async def _start_and_await(self, command: Command, answers: Callable[[], Awaitable[bool]]) -> None:
        child = await self._start(command)
        try:
            async with asyncio.timeout(START_SECONDS):
                while not await answers():
                    self.raise_if_dead()
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise StackError(
                f"{command.name} did not answer within {START_SECONDS:.0f} s; its log is {child.log_file}"
            ) from None

    async def _stop_together(self, names: list[str], grace_seconds: float) -> None:
        found = [self.children[name] for name in names if name in self.children]
        await asyncio.gather(*(child.stop(grace_seconds) for child in found))


Launch = Callable[[StackOptions], AbstractAsyncContextManager[Stack]]


@asynccontextmanager
async def running_stack(options: StackOptions) -> AsyncIterator[Stack]:
    """Start a stack and yield it before it is ready; stop it when the block ends, also after an error."""
    upstream = await choose_upstream(options)
    layout = build_layout(options, upstream, _choose_ports(options), redis_password=secrets.token_urlsafe(24))
    async with running_layout(layout, options.var_dir) as stack:
        yield stack


@asynccontextmanager
async def running_layout(layout: StackLayout, var_dir: Path) -> AsyncIterator[Stack]:
    """Start the processes of a layout; stop them when the block ends, also after an error.

    Args:
        layout: The plan of the stack.
        var_dir: Folder of the state file.
    """
    with _owned_state(layout), contextlib.closing(ReaperClient()) as reaper:
        stack = Stack(layout, reaper)
        try:
            await stack.start()
            with published(var_dir, describe(stack)):
                yield stack
        finally:
            await asyncio.shield(stack.stop())


def describe(stack: Stack) -> RunningStack:
    """Return the addresses of a stack that runs in this process."""
    return RunningStack(
        pid=os.getpid(),
        gateway_url=stack.gateway_url,
        market_target=stack.target("market"),
        forecast_target=stack.target("forecast"),
        training_target=stack.target("training"),
        upstream=str(stack.layout.upstream),
        state_dir=str(stack.layout.state_dir.resolve()),
    )


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def _choose_ports(options: StackOptions) -> Ports:
    if options.port:
        ensure_free(options.port)
    found = free_ports(len(fields(Ports)))
    return Ports(options.port or found[0], *found[1:])


@contextlib.contextmanager
def _owned_state(layout: StackLayout) -> Iterator[None]:
    """Prepare the state folder, which no other stack can use until the block ends.

    Raises:
        SetupError: Another stack uses the folder, or it cannot be written.
    """
    state_dir = layout.state_dir
    with contextlib.ExitStack() as held:
        try:
            _make_folders(state_dir)
            lock = held.enter_context((state_dir / ".lock").open("a+"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Only now: the logs of a stack that runs here are in use.
            for log_file in (state_dir / "logs").glob("*.log"):
                shutil.move(log_file, log_file.with_suffix(".log.old"))
            if layout.redis:
                _write_private(state_dir / "redis" / REDIS_CONFIG, redis_config(layout))
        except BlockingIOError:
            raise SetupError(
                f"another stack runs on {state_dir}; stop it, or set VAR_DIR= to another folder"
            ) from None
        except OSError as error:
            raise SetupError(
                f"cannot write in {state_dir}: {error.strerror or error}; set VAR_DIR= to another folder"
            ) from error
        yield


def _make_folders(state_dir: Path) -> None:
    for name in ("redis", "logs", "archive", "artifacts", "ledger", "spool", "training"):
        (state_dir / name).mkdir(parents=True, exist_ok=True)
