"""Send requests of every kind at a fixed rate, and record status and latency of the replies in windows."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

import httpx2

COINS = ("bitcoin", "ethereum", "solana", "cardano", "litecoin", "chainlink")
CURRENCIES = ("usd", "eur", "btc", "jpy")
MODELS = ("lightgbm", "lightgbm", "technical", "auto")
SHARES = {
    "prices": 45, "forecasts": 15, "history": 12, "markets": 8, "mirror": 8, "health": 9, "wrong": 3,
}  # fmt: skip
WINDOW_SECONDS = 10.0
TIMEOUT_SECONDS = 20.0
# Wrong on purpose: the reply must be a refusal, never a 500.
WRONG = ("/prices?ids=no-such-coin&vs_currencies=usd", "/forecasts?ids=bitcoin&days=999", "/nowhere")


@dataclass(slots=True)
class Window:
    """The replies of ten seconds: latencies in milliseconds, and counts of statuses by kind of request.

    `quiet_ms` holds the latencies of good replies while no fault was on; `quiet_errors` counts the
    unexpected replies of that time. `bare_ms` holds the latencies of a trivial reply by a process that is
    no part of the product. They show the noise of the machine.
    """

    at_seconds: float
    quiet_ms: list[float] = field(default_factory=list)
    quiet_errors: int = 0
    bare_ms: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)


class Traffic:
    """Sends requests at a fixed rate, without waiting for replies, while its context is entered.

    Args:
        url: The URL of the gateway.
        bare_url: The URL of the trivial reply.
        rate: Requests a second.
        is_disturbed: Returns whether a fault is on, or may still have effects.
    """

    def __init__(self, url: str, bare_url: str, rate: float, *, is_disturbed: Callable[[], bool]) -> None:
        self._bare_url = bare_url
        self._client = httpx2.AsyncClient(
            base_url=url, timeout=TIMEOUT_SECONDS, trust_env=False, limits=httpx2.Limits(max_connections=500)
        )
        self._rate = rate
        self._disturbed = is_disturbed
        self._random = random.Random(7)
        self._open_requests: set[asyncio.Task[None]] = set()
        self._began = time.monotonic()
        self.internal_errors: Counter[str] = Counter()
        self.forget()

    def forget(self) -> None:
        """Drop all records, except those of internal errors, which must never occur."""
        self.windows: list[Window] = []
        self.quiet_errors: Counter[str] = Counter()
        self.replies = 0
        self._counting_since = time.monotonic()

    @property
    def elapsed_seconds(self) -> float:
        """Return the seconds since the traffic started."""
        return time.monotonic() - self._began

    async def __aenter__(self) -> Traffic:
        self._drivers = [asyncio.create_task(self._drive()), asyncio.create_task(self._watch_machine())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for driver in self._drivers:
            driver.cancel()
        if self._open_requests:
            await asyncio.wait(self._open_requests, timeout=TIMEOUT_SECONDS)
        await self._client.aclose()

    async def _drive(self) -> None:
        due = time.monotonic()
        while True:
            due += 1 / self._rate
            await asyncio.sleep(max(due - time.monotonic(), 0))
            task = asyncio.create_task(self._request(*self._choose()))
            self._open_requests.add(task)
            task.add_done_callback(self._open_requests.discard)

    async def _watch_machine(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            began = time.monotonic()
            with contextlib.suppress(httpx2.HTTPError):
                await self._client.get(self._bare_url, timeout=2)
                self._window(began).bare_ms.append((time.monotonic() - began) * 1000)

    def _window(self, began: float) -> Window:
        at = began - self._counting_since
        if not self.windows or at - self.windows[-1].at_seconds >= WINDOW_SECONDS:
            self.windows.append(Window(at))
        return self.windows[-1]

    def _choose(self) -> tuple[str, str]:
        """Return the kind of request, and its path."""
        rng = self._random
        (kind,) = rng.choices(list(SHARES), weights=list(SHARES.values()))
        coins = ",".join(rng.sample(COINS, rng.randint(1, 3)))
        paths = {
            "prices": f"/prices?ids={coins}&vs_currencies={rng.choice(CURRENCIES)}",
            "forecasts": f"/forecasts?ids={coins}&days={rng.randint(1, 14)}&model={rng.choice(MODELS)}",
            "history": f"/coins/{rng.choice(COINS)}/history?days={rng.choice((7, 30, 365))}",
            "markets": f"/markets?vs_currency=usd&per_page={rng.choice((5, 10))}",
            "mirror": f"/api/v3/simple/price?ids={coins}&vs_currencies=usd",
            "health": rng.choice(("/health", "/health/ready", "/forecasts/models")),
            "wrong": rng.choice(WRONG),
        }
        return kind, paths[kind]

    async def _request(self, kind: str, path: str) -> None:
        disturbed, began = self._disturbed(), time.monotonic()
        try:
            status = (await self._client.get(path)).status_code
        except httpx2.HTTPError as error:
            status = 599 if not isinstance(error, httpx2.TimeoutException) else 598
        if status == 500:
            self.internal_errors[f"{kind} {path}"] += 1
        if began >= self._counting_since:
            self._count(kind, path, status, began, disturbed or self._disturbed())

    def _count(self, kind: str, path: str, status: int, began: float, disturbed: bool) -> None:
        window = self._window(began)
        window.statuses[f"{kind} {status}"] += 1
        self.replies += 1
        if kind != "wrong" and status < 300 and not disturbed:
            window.quiet_ms.append((time.monotonic() - began) * 1000)
        expected = (400 <= status < 500) if kind == "wrong" else status < 300
        if not expected and not disturbed:
            self.quiet_errors[f"{kind} {status}"] += 1
            window.quiet_errors += 1
