"""Run as a process of its own: lives of what takes the ledger to disk, each ended by a kill."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import random
import select
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
# Every third life ends between file and acknowledgement: the acknowledgement pauses there for the kill.
BETWEEN_EVERY = 3
# How many acknowledgements such a life makes before it pauses, at most.
MAX_ACKNOWLEDGED_BEFORE = 2
RUNS, PAUSES = b"r", b"p"


def main(folder: Path, url: str, lives: int, seed: int) -> None:
    """Run one life after another; each ends by a kill at its pause, or within 0.6 s of its first read."""
    rng = random.Random(seed)
    for number in range(lives):
        between = number % BETWEEN_EVERY == 0
        pause_after = rng.randint(0, MAX_ACKNOWLEDGED_BEFORE) if between else None
        signs, sign = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(signs)
            asyncio.run(_live(folder, url, sign, pause_after))
            os._exit(1)  # it has no end of its own
        os.close(sign)
        _wait_for(signs, PAUSES if between else RUNS)
        if between:
            with (folder / MARK).open("a") as file:
                file.write("x")
        else:
            time.sleep(rng.uniform(0.0, 0.6))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        os.close(signs)
        if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
            raise SystemExit("a life ended by itself")


def _wait_for(signs: int, wanted: bytes) -> None:
    """Wait until the child gives a sign; it must within a minute."""
    until = time.monotonic() + 60
    while (left := until - time.monotonic()) > 0:
        if select.select([signs], [], [], left)[0]:
            found = os.read(signs, 1)
            if found == wanted:
                return
            if not found:
                raise SystemExit("a life ended by itself")
    raise SystemExit(f"no sign {wanted!r} of a life in a minute")


async def _live(folder: Path, url: str, sign: int, pause_after: int | None) -> None:
    redis: Any = PausesBeforeAcknowledging(open_redis(url, timeout_seconds=5), folder, sign, pause_after)
    await _service(redis, folder).run()


class PausesBeforeAcknowledging:
    """A client that tells its parent when it first reads, and when it is about to acknowledge a file.

    At the acknowledgement after `pause_after` others the whole process stands still, so that the kill falls
    between file and acknowledgement; with None it never does.
    """

    def __init__(self, redis: Redis, folder: Path, sign: int, pause_after: int | None) -> None:
        self._redis, self._folder, self._sign, self._left = redis, folder, sign, pause_after
        self._runs = False
        self._before = self._files()

    def _files(self) -> set[tuple[str, int]]:
        return {(path.name, path.stat().st_mtime_ns) for path in self._folder.rglob("*.parquet")}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._redis, name)

    async def xreadgroup(self, *arguments: Any, **options: Any) -> Any:
        if not self._runs:
            self._runs = True
            os.write(self._sign, RUNS)
        return await self._redis.xreadgroup(*arguments, **options)

    async def xack(self, *arguments: Any) -> Any:
        files = self._files()
        if files <= self._before:
            raise SystemExit("acknowledged without a new file")
        self._before = files
        if self._left == 0:
            os.write(self._sign, PAUSES)
            time.sleep(3600)  # noqa: ASYNC251 - the process stands still until it is killed
        if self._left is not None:
            self._left -= 1
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
