"""A served risk answer on its way: stream or spool, the ledger, its score, and the record that is quoted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
from redis.asyncio import Redis

from coincast_chassis.clock import ManualClock
from coincast_chassis.redis import open_redis
from coincast_chassis.resilience.cancellation import cancel_and_wait
from coincast_forecast.prediction_log.writer import LedgerWriter, Stream, claim_own
from coincast_forecast.registry.live_records import open_live_risk
from coincast_modelkit.candles import Candles
from coincast_modelkit.ledger import RISK_STREAM_KEY, STREAM_KEY
from coincast_modelkit.scenarios.live_record import LIVE_RISK_FILE
from coincast_modelkit.scenarios.statements import LossStatement, TouchStatement
from coincast_training.scoring.risk.service import EXPIRE_DAYS, RiskLedgerService
from coincast_training.scoring.risk.store import RiskStore
from coincast_training.scoring.source_calendar import SourceCalendar
from coincast_training.scoring.store import LedgerStore
from tests.contract.valkey_harness import RunningValkey, running_valkey
from tests.unit.training.training_fakes import FakeHistory, candles_of

NOW = 1_756_800_000.0
CANDLES = candles_of("bitcoin", 60)
AS_OF = 40


def statements(day: int = AS_OF) -> list[TouchStatement | LossStatement]:
    last = float(CANDLES.close[day])
    as_of = str(CANDLES.dates[day])
    touch = TouchStatement(
        statement_id=f"t{day}", coin_id="bitcoin", vs_currency="usd", as_of=as_of, served_by="ml_ensemble",
        last_price=last, level=last * 1.001, first_day=1, touch=(0.9, 0.95), close_beyond=(0.5, 0.5),
    )  # fmt: skip
    losses = LossStatement(
        statement_id=f"l{day}", vs_currency="usd", as_of=as_of, served_by="ml_ensemble", days=1,
        weights={"bitcoin": 1.0}, last_prices={"bitcoin": last}, levels=((95.0, 0.05, 0.07),),
    )  # fmt: skip
    return [touch, losses]


@pytest.fixture
def server() -> Iterator[RunningValkey]:
    with running_valkey() as running:
        yield running


@pytest.fixture
async def redis(server: RunningValkey) -> AsyncIterator[Redis]:
    client = open_redis(server.url, timeout_seconds=5)
    yield client
    await client.aclose()


@pytest.fixture
async def writer(redis: Redis, tmp_path: Path) -> AsyncIterator[LedgerWriter]:
    writer = LedgerWriter(Stream(redis), claim_own(tmp_path / "spool", "replica"))
    yield writer
    await writer.aclose()


def service_of(redis: Redis, folder: Path, candles: Candles = CANDLES) -> RiskLedgerService:
    history, clock = FakeHistory({"bitcoin": candles}), ManualClock(NOW)
    return RiskLedgerService(
        redis=redis,
        consumer="training-1",
        store=RiskStore(folder / "ledger" / "risk.sqlite"),
        calendar=SourceCalendar(history, LedgerStore(folder / "ledger"), clock),
        history_in=lambda _: history,
        record_path=folder / "artifacts" / LIVE_RISK_FILE,
        clock=clock,
    )


async def test_an_answer_is_scored_and_its_record_quoted(
    writer: LedgerWriter, redis: Redis, tmp_path: Path
) -> None:
    assert await writer.append(statements())
    assert await redis.xlen(RISK_STREAM_KEY) == 2
    assert await redis.xlen(STREAM_KEY) == 0
    service = service_of(redis, tmp_path)
    assert await service.consumer.take() == 2
    assert await service.cycle() == 2 * 2 + 1
    assert await redis.xlen(RISK_STREAM_KEY) == 0, "what is on disk leaves the stream"
    reader = open_live_risk(tmp_path / "artifacts")
    reader.read()
    rows = {(r.kind, r.horizon_days, r.tenth): r for r in reader.current.records if not r.served_by}
    after = CANDLES.rows(AS_OF + 1, AS_OF + 3)
    last = float(CANDLES.close[AS_OF])
    for horizon in (1, 2):
        touched = bool(after.high[:horizon].max() >= last * 1.001)
        assert rows["touch", horizon, 9].observed_percent == 100 * touched
        beyond = bool(after.close[horizon - 1] >= last * 1.001)
        assert rows["close_beyond", horizon, 5].observed_percent == 100 * beyond
    [exceedance] = [r for r in reader.current.records if r.kind == "exceedance" and not r.served_by]
    assert exceedance.observed_percent == 100 * bool(after.close[0] / last - 1 < -0.05)


async def test_a_message_that_comes_again_counts_once(
    writer: LedgerWriter, redis: Redis, tmp_path: Path
) -> None:
    service = service_of(redis, tmp_path)
    for _ in range(3):
        await writer.append(statements())
        await service.consumer.take()
        await service.cycle()
    assert service.store.counts() == (0, 5)


async def test_what_waited_on_disk_while_redis_was_away_arrives(
    server: RunningValkey, redis: Redis, tmp_path: Path
) -> None:
    nowhere = open_redis("redis://127.0.0.1:1/0")
    away = LedgerWriter(Stream(nowhere), claim_own(tmp_path / "spool", "replica"))
    assert await away.append(statements())
    assert away.counts().spooled == 2
    await away.aclose()
    await nowhere.aclose()
    back = LedgerWriter(Stream(redis), claim_own(tmp_path / "spool", "replica"))
    await back.drain()
    await back.aclose()
    service = service_of(redis, tmp_path)
    assert await service.consumer.take() == 2
    assert await service.cycle() == 5


async def test_days_that_are_not_over_wait_and_candles_that_never_come_are_passed_over(
    writer: LedgerWriter, redis: Redis, tmp_path: Path
) -> None:
    await writer.append(statements(AS_OF))
    early = service_of(redis, tmp_path, CANDLES.rows(0, AS_OF + 2))
    await early.consumer.take()
    assert await early.cycle() == 2 + 1
    assert early.store.counts()[0] == 1
    assert await early.cycle() == 0
    days = CANDLES.dates
    gap = Candles.of(
        "bitcoin",
        np.append(
            np.delete(days, np.s_[AS_OF + 2 :]), days[AS_OF + 2] + np.timedelta64(EXPIRE_DAYS + 1, "D")
        ),
        np.append(CANDLES.close[: AS_OF + 2], 100.0),
    )
    late = service_of(redis, tmp_path, gap)
    assert await late.cycle() == 0
    assert late.store.counts() == (0, 3)


async def test_damaged_messages_and_a_source_that_fails_stop_nothing(
    writer: LedgerWriter, redis: Redis, tmp_path: Path
) -> None:
    await redis.xadd(RISK_STREAM_KEY, {"entry": '{"statement":"dream"}'})
    await redis.xadd(RISK_STREAM_KEY, {"other": "field"})
    await writer.append(statements())
    service = service_of(redis, tmp_path)
    assert await service.consumer.take() == 4
    assert service.store.counts()[0] == 2
    failing = service_of(redis, tmp_path)
    failing_history = FakeHistory({"bitcoin": CANDLES}, failures=1)
    failing = RiskLedgerService(
        redis=redis,
        consumer="training-1",
        store=failing.store,
        calendar=SourceCalendar(failing_history, LedgerStore(tmp_path / "ledger"), ManualClock(NOW)),
        history_in=lambda _: failing_history,
        record_path=tmp_path / "artifacts" / LIVE_RISK_FILE,
        clock=ManualClock(NOW),
    )
    assert await failing.cycle() == 0
    assert await failing.cycle() == 5


async def test_it_runs_by_itself_until_it_is_cancelled(
    writer: LedgerWriter, redis: Redis, tmp_path: Path
) -> None:
    await writer.append(statements())
    service = service_of(redis, tmp_path)
    task = asyncio.create_task(service.run())
    async with asyncio.timeout(30):
        while service.store.counts() != (0, 5):  # noqa: ASYNC110 - a file is polled
            await asyncio.sleep(0.05)
    await cancel_and_wait([task])
    assert task.cancelled()
