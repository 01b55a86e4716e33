"""Run as a process of its own: lives of what takes the ledger to disk, each ended by a kill."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from redis.asyncio import Redis

from coincast_chassis.clock import ManualClock
from coincast_chassis.redis import open_redis
from coincast_modelkit.ledger import LedgerEntry
from coincast_training.scoring.consumer import LedgerConsumer
from coincast_training.scoring.service import LedgerService
from coincast_training.scoring.source_calendar import SourceCalendar
from coincast_training.scoring.store import LedgerStore

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "unit" / "training"))
from training_fakes import NORMAL, PROBABILITIES, FakeHistory, candles_of

CANDLES = candles_of("bitcoin", 400, first="2024-01-01")
NOW = dt.datetime.combine(CANDLES.as_of + dt.timedelta(days=1), dt.time(12), dt.UTC).timestamp()
MARK = "died-between"


def main(folder: Path, url: str, lives: int, seed: int) -> None:
    """One life after another, none longer than a second."""
    rng = random.Random(seed)
    for number in range(lives):
        child = os.fork()
        if child == 0:
            asyncio.run(_live(folder, url, number))
            os._exit(1)  # it has no end of its own
        time.sleep(rng.uniform(0.05, 1.0))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
            raise SystemExit("a life ended by itself")


async def _live(folder: Path, url: str, number: int) -> None:
    redis: Any = DiesBetween(open_redis(url, timeout_seconds=5), folder, random.Random(number))
    await _service(redis, folder).run()


class DiesBetween:
    """A client whose process ends now and then just before it acknowledges what is on disk."""

    def __init__(self, redis: Redis, folder: Path, rng: random.Random) -> None:
        self._redis, self._folder, self._rng = redis, folder, rng

    def __getattr__(self, name: str) -> Any:
        return getattr(self._redis, name)

    async def xack(self, *arguments: Any) -> Any:
        if self._rng.random() < 0.3:
            with (self._folder / MARK).open("a") as file:
                file.write("x")
            os.kill(os.getpid(), signal.SIGKILL)
        return await self._redis.xack(*arguments)


def died_between(folder: Path) -> int:
    """How many lives ended between file and acknowledgement."""
    return len((folder / MARK).read_text())


def _service(redis: Redis, folder: Path) -> LedgerService:
    history, store, clock = FakeHistory({"bitcoin": CANDLES}), LedgerStore(folder), ManualClock(NOW)
    return LedgerService(
        consumer=LedgerConsumer(redis, folder, consumer="training-1"),
        store=store,
        calendar=SourceCalendar(history, store, clock),
        history_in=lambda _: history,
        live_record_path=folder / "live-record.json",
        clock=clock,
        poll_seconds=0.005,
        scoring_seconds=0.05,
    )


async def in_peace(folder: Path, url: str) -> LedgerStore:
    """A last life: takes what is left, scores what is due, and ends by itself."""
    redis = open_redis(url, timeout_seconds=5)
    try:
        consumer = LedgerConsumer(redis, folder, consumer="training-1")
        while await consumer.take():
            pass
        service = _service(redis, folder)
        await service.cycle()
    finally:
        await redis.aclose()
    return service.store


def rows_of(store: LedgerStore) -> list[dict[str, Any]]:
    """What its readers are given: forecasts that wait, and those that were scored."""
    scored: list[dict[str, Any]] = store.scored_since(CANDLES.dates[0].item()).to_pylist()
    return store.open_forecasts().rows + scored


def entry_of(number: int, *, due: bool) -> LedgerEntry:
    """A forecast whose day has come, or comes in a month."""
    day = 100 + number % 250 if due else len(CANDLES) - 1
    last = float(CANDLES.close[day])
    return LedgerEntry(
        forecast_id=f"forecast-{number}",
        made_at=NOW,
        coin_id="bitcoin",
        vs_currency="usd",
        as_of=str(CANDLES.dates[day]),
        model="lightgbm",
        version="v000001",
        variant="production",
        served_by="lightgbm",
        horizon_days=1 if due else 30,
        last_price=last,
        probabilities=tuple(PROBABILITIES),
        price_quantiles=tuple(last * np.exp(NORMAL * 0.03)),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
