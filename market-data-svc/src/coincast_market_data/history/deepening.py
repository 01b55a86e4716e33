"""Order of the calls for histories: callers first, then what no caller waits for.

On a plan with calls to spare a new coin's history takes a call for each quarter, since only short spans have
hourly points, and with them highs and lows. A caller that says so gets the closes of all days by one call
first; `HistoryDeepener` fetches the rest afterwards, coin by coin. `CallerPrecedence` lets the calls of
trainings, of the archive and of the deepener wait while callers' calls are under way, also where the plan has
enough calls for all: parsing the points is what takes long then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import date

import structlog

from coincast_chassis.errors import CoincastError, InvalidInput, NotFound
from coincast_chassis.resilience.background_tasks import BackgroundTasks

log = structlog.get_logger(__name__)
# How long a call that no caller waits for gives way at most: many callers must not stop it for good.
MOST_YIELD_SECONDS = 5.0
# Pause after a failed attempt where the failure names no time.
RETRY_SECONDS = 30.0
ATTEMPTS = 10
Sleep = Callable[[float], Awaitable[None]]
Enrich = Callable[[str, str, date], Awaitable[int]]
Key = tuple[str, str]


class CallerPrecedence:
    """Knows whether callers' calls are under way, and lets other calls wait for their end."""

    def __init__(self) -> None:
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def caller(self) -> Iterator[None]:
        """Count a caller's call for the block."""
        self._under_way += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    async def give_way(self, most_seconds: float = MOST_YIELD_SECONDS) -> None:
        """Return once no caller's call is under way, or after `most_seconds`."""
        if self._idle.is_set():
            return
        waiting = asyncio.ensure_future(self._idle.wait())
        try:
            await asyncio.wait({waiting}, timeout=most_seconds)
        finally:
            waiting.cancel()


class HistoryDeepener:
    """Completes histories of which only the closes are stored, one coin at a time.

    Args:
        enrich: Fetches highs and lows of a coin's days from one on; returns how many days it completed.
        sleep: Pauses after failures; replaced by tests.
    """

    def __init__(self, enrich: Enrich, *, sleep: Sleep = asyncio.sleep) -> None:
        self._enrich = enrich
        self._sleep = sleep
        self._turn = asyncio.Lock()
        self._tasks = BackgroundTasks("history_deepener")
        self._pending: dict[Key, asyncio.Task[None]] = {}

    def submit(self, coin: str, currency: str, first: date) -> None:
        """Complete a coin's days from `first` on in the background; once at a time for each coin."""
        key = (coin, currency)
        if key not in self._pending:
            task = self._tasks.start(f"deepen {coin}", self._deepen(coin, currency, first))
            self._pending[key] = task
            task.add_done_callback(lambda _: self._pending.pop(key, None))

    def is_pending(self, coin: str, currency: str) -> bool:
        """Return whether a coin's days are still being completed."""
        return (coin, currency) in self._pending

    async def wait(self, coin: str, currency: str) -> None:
        """Return once a coin's days are as complete as they can be."""
        task = self._pending.get((coin, currency))
        if task is not None:
            await asyncio.wait({task})

    async def _deepen(self, coin: str, currency: str, first: date) -> None:
        for _ in range(ATTEMPTS):
            try:
                async with self._turn:
                    await self._enrich(coin, currency, first)
            except (NotFound, InvalidInput) as error:
                log.info("history_not_deepened", coin=coin, reason=error.message)
                return
            except CoincastError as error:
                pause = error.retry_after_seconds or RETRY_SECONDS
                log.info("history_deepening_paused", coin=coin, reason=error.message, seconds=pause)
                await self._sleep(pause)
            else:
                return
        log.warning("history_deepening_given_up", coin=coin)

    async def aclose(self) -> None:
        """Cancel what is under way."""
        await self._tasks.aclose()
