"""`make rehearse`: start the real stack from an empty folder under the limits of a CoinGecko plan."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import httpx2

from coincast_chassis.resilience.cancellation import cancel_and_wait
from coincast_stack.environment import own_settings
from coincast_stack.errors import ChildDeathError, StackError
from coincast_stack.layout import inherited
from coincast_stack.options import RehearsedPlan, StackOptions, Upstream
from coincast_stack.processes.child import Child, Command
from coincast_stack.processes.ports import free_ports
from coincast_stack.processes.probes import answers_http, as_json, get
from coincast_stack.processes.reaper_client import ReaperClient
from coincast_stack.rehearsal.proxy import FilteringProxy, filtering_proxy
from coincast_stack.rehearsal.record import (
    Milestone,
    RehearsalRecord,
    fault_of,
    priced_coins,
    trained_forecast,
)
from coincast_stack.stack import Launch, Stack, running_stack

COINS = (
    "bitcoin", "ethereum", "ripple", "binancecoin", "solana",
    "dogecoin", "cardano", "chainlink", "avalanche-2", "litecoin",
)  # fmt: skip
START_SECONDS = 60.0
# More than a minute, so that the busiest minute is a complete one.
LEAST_SECONDS = 65.0
MOST_SECONDS = 300.0
POLL_SECONDS = 1.0
# A coin that is served is still polled, less often, so that later faults are found.
CALM_POLL_SECONDS = 5.0
REPLY_SECONDS = 30.0
Say = Callable[[float, str], None]
RunSandbox = Callable[[RehearsedPlan, Path], AbstractAsyncContextManager[int]]


@contextlib.asynccontextmanager
async def limited_sandbox(plan: RehearsedPlan, folder: Path) -> AsyncIterator[int]:
    """Run a sandbox with the plan's limits; yield its port.

    Raises:
        ChildDeathError: The sandbox cannot start.
    """
    (port,) = free_ports(1)
    arguments = ["--port", str(port), "--plan", plan.value, "--plan-limits"]
    command = Command(
        "sandbox", [sys.executable, "-m", "coincast_sandbox", *arguments], own_settings("SANDBOX_")
    )
    with contextlib.closing(ReaperClient()) as reaper:
        child = await Child.start(command, folder, reaper, inherited())

        async def live() -> bool:
            if child.exit_code is not None:
                raise ChildDeathError(child.name, child.exit_code, child.last_lines())
            return await answers_http(f"http://127.0.0.1:{port}/sandbox/health")

        try:
            await _until(live, "the sandbox")
            yield port
        finally:
            await asyncio.shield(child.stop(2.0))


async def rehearse(
    plan: RehearsedPlan,
    folder: Path,
    say: Say,
    *,
    most_seconds: float = MOST_SECONDS,
    launch: Launch = running_stack,
    sandbox: RunSandbox = limited_sandbox,
) -> RehearsalRecord:
    """Start everything in an empty folder, poll until every coin is served, and stop everything.

    Args:
        plan: The plan whose limits the sandbox enforces.
        folder: An empty folder for the state.
        say: Called for each event with the seconds since the services answered and a sentence.
        most_seconds: Time limit for the polling.
        launch: Starts the stack.
        sandbox: Runs the sandbox, and yields its port.

    Raises:
        StackError: A process cannot start, or ended.
    """
    async with sandbox(plan, folder) as port:
        with filtering_proxy(port) as proxy:
            record = RehearsalRecord(plan, await _limit(port), COINS, calls=proxy.calls)
            launched = time.monotonic()
            async with launch(_options(plan, folder, proxy.base_url)) as stack:
                await _until_live(stack)
                record.launch_seconds = time.monotonic() - launched
                await _Poller(stack, proxy, record, say).run(most_seconds)
    return record


def _options(plan: RehearsedPlan, folder: Path, upstream_url: str) -> StackOptions:
    """Return the options of `make run`, with a key for the plan and the proxy in place of CoinGecko."""
    return StackOptions(
        folder / "var",
        Upstream.COINGECKO,
        later=("ml_ensemble",),
        coingecko_api_key="" if plan == RehearsedPlan.KEYLESS else "rehearsal",
        extra_environment={"MARKET_UPSTREAM_URL": upstream_url},
    )


async def _limit(port: int) -> int:
    _, body = await get(f"http://127.0.0.1:{port}/sandbox/limits")
    return int(as_json(body)["per_minute"])


async def _until_live(stack: Stack) -> None:
    async def live() -> bool:
        stack.raise_if_dead()
        return await answers_http(f"{stack.gateway_url}/health")

    await _until(live, "the gateway")


async def _until(answers: Callable[[], Awaitable[bool]], what: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not await answers():
        if time.monotonic() > deadline:
            raise StackError(f"{what} did not answer within {START_SECONDS:.0f} s")
        await asyncio.sleep(0.05)


class _Poller:
    """Polls the gateway like a client, and records milestones and faults."""

    def __init__(self, stack: Stack, proxy: FilteringProxy, record: RehearsalRecord, say: Say) -> None:
        self._stack = stack
        self._proxy = proxy
        self._record = record
        self._say = say
        self._began = time.monotonic()
        self._client = httpx2.AsyncClient(base_url=stack.gateway_url, timeout=REPLY_SECONDS, trust_env=False)

    async def run(self, most_seconds: float) -> None:
        """Poll until every coin is served and more than a minute has passed, or until the time limit."""
        self._say(0.0, f"services started ({self._record.launch_seconds:.1f} s after their launch)")
        polls = [asyncio.create_task(self._poll_prices())]
        polls += [asyncio.create_task(self._poll_forecast(coin)) for coin in self._record.coins]
        try:
            while self._seconds() < (LEAST_SECONDS if self._record.complete else most_seconds):
                self._stack.raise_if_dead()
                for poll in polls:
                    if poll.done():
                        poll.result()
                await asyncio.sleep(0.1)
        finally:
            await cancel_and_wait(polls)
            await self._client.aclose()

    async def _poll_prices(self) -> None:
        record, path = self._record, f"/prices?ids={','.join(self._record.coins)}&vs_currencies=usd"
        while True:
            body = await self._get(path)
            if record.prices is None and priced_coins(body) >= set(record.coins):
                record.prices = self._milestone()
                self._say(record.prices.seconds, f"prices of {len(record.coins)} coins{self._cost()}")
            await asyncio.sleep(POLL_SECONDS if record.prices is None else CALM_POLL_SECONDS)

    async def _poll_forecast(self, coin: str) -> None:
        record = self._record
        while True:
            forecast = trained_forecast(await self._get(f"/forecasts?ids={coin}&days=7&model=lightgbm"))
            if coin not in record.forecasts and forecast is not None:
                note = str(forecast.get("reason") or "")
                record.forecasts[coin] = milestone = self._milestone(note)
                served = f"{forecast['served_by']} {forecast['version']}"
                self._say(
                    milestone.seconds,
                    f"forecast of {coin} by {served}{self._cost()}" + (f": {note}" if note else ""),
                )
            await asyncio.sleep(CALM_POLL_SECONDS if coin in record.forecasts else POLL_SECONDS)

    async def _get(self, path: str) -> bytes:
        try:
            reply = await self._client.get(path)
        except (httpx2.HTTPError, OSError) as error:
            self._note_fault(f"{path}: {type(error).__name__} {error}".rstrip())
            return b""
        self._note_fault(fault_of(path, reply.status_code, reply.headers, reply.content))
        return reply.content

    def _note_fault(self, fault: str) -> None:
        if fault and fault not in self._record.faults:
            self._record.faults[fault] = None
            self._say(self._seconds(), f"FAULT {fault}")

    def _milestone(self, note: str = "") -> Milestone:
        return Milestone(self._seconds(), len(self._proxy.calls), note)

    def _cost(self) -> str:
        return f" ({len(self._proxy.calls)} calls so far)"

    def _seconds(self) -> float:
        return time.monotonic() - self._began
