"""On a plan with calls to spare a caller's closes come first: one call a coin, before all other calls."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2
import pytest

from coincast.market.v1 import market_pb2 as pb
from coincast_chassis.clock import ManualClock
from coincast_chassis.errors import Unavailable
from coincast_market_data.coingecko.api_plans import PlanName
from tests.contract.market_mock import MockUpstream, market_over, noon_clock

COINS = ("bitcoin", "ethereum", "ripple", "solana")
DAYS = 800
CLOSES, SPAN = "market_chart", "market_chart/range"


class RecordingUpstream(MockUpstream):
    """Record the charts that are requested, and answer those of callers once all coins' are there."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.coins = list(COINS)
        self.charts: list[tuple[str, str]] = []
        self.answered = 0
        self.hold = asyncio.Event()
        self.hold.set()

    async def answer(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.path.removeprefix("/api/v3/")
        if "market_chart" in path:
            _, coin, kind = path.split("/", 2)
            self.charts.append((coin, kind))
            await self.hold.wait()
            self.answered += 1
        return await super().answer(request)

    async def until(self, charts: int) -> None:
        for _ in range(2000):
            if len(self.charts) >= charts:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"only {len(self.charts)} charts were requested")


@pytest.fixture
def clock() -> ManualClock:
    return noon_clock()


@pytest.fixture
def mock(clock: ManualClock) -> RecordingUpstream:
    return RecordingUpstream(clock)


async def closes(stub: Any, coin: str, **more: Any) -> pb.History:
    request = pb.GetHistoryRequest(id=coin, days=DAYS, closes_first=True, **more)
    return (await stub.GetHistory(request, timeout=20)).history


async def until_whole(stub: Any, coin: str) -> pb.History:
    for _ in range(300):
        found = await closes(stub, coin)
        if found.completeness != pb.HISTORY_COMPLETENESS_PARTIAL:
            return found
        await asyncio.sleep(0.2)
    raise AssertionError(f"{coin} stays partial: {found.partial_reason}")


@pytest.mark.parametrize("plan", [PlanName.BASIC, PlanName.ANALYST, PlanName.PRO])
async def test_every_coin_has_its_closes_before_any_coin_is_deepened(
    mock: RecordingUpstream, tmp_path: Path, plan: PlanName
) -> None:
    async with market_over(mock, tmp_path, plan=plan) as stub:
        mock.hold.clear()
        callers = [asyncio.create_task(closes(stub, coin)) for coin in COINS]
        await mock.until(len(COINS))
        assert sorted(mock.charts) == sorted((coin, CLOSES) for coin in COINS)
        mock.hold.set()
        first = await asyncio.gather(*callers)
        for history in first:
            assert len(history.candles) == DAYS if plan is not PlanName.BASIC else len(history.candles) >= 728
            assert history.completeness == pb.HISTORY_COMPLETENESS_PARTIAL
            assert "highs and lows of" in history.partial_reason
            assert history.retry_after_seconds > 0
            assert history.ranges_pending
        for coin in COINS:
            deep = await until_whole(stub, coin)
            assert deep.completeness != pb.HISTORY_COMPLETENESS_PARTIAL
            assert all(candle.high for candle in deep.candles)
        deepening = mock.charts[len(COINS) :]
        assert {kind for _, kind in deepening} == {SPAN}
        changes = sum(before != after for (before, _), (after, _) in pairwise(deepening))
        assert changes == len(COINS) - 1, "one coin after the other"


async def test_a_bulk_reader_gives_way_to_callers_and_gets_whole_candles(
    mock: RecordingUpstream, tmp_path: Path
) -> None:
    async with market_over(mock, tmp_path, plan=PlanName.ANALYST) as stub:
        mock.hold.clear()
        callers = [asyncio.create_task(closes(stub, coin)) for coin in COINS]
        await mock.until(len(COINS))
        request = pb.StreamHistoryRequest(ids=COINS, days=DAYS, bulk=True)

        async def read() -> list[pb.History]:
            return [reply.history async for reply in stub.StreamHistory(request, timeout=60)]

        bulk = asyncio.create_task(read())
        await asyncio.sleep(0.3)
        assert len(mock.charts) == len(COINS), "the bulk reader has made no call yet"
        mock.hold.set()
        await asyncio.gather(*callers)
        for history in await bulk:
            assert history.completeness != pb.HISTORY_COMPLETENESS_PARTIAL
            assert all(candle.high for candle in history.candles)


async def test_what_takes_few_calls_comes_whole_at_once(mock: RecordingUpstream, tmp_path: Path) -> None:
    async with market_over(mock, tmp_path, plan=PlanName.ANALYST) as stub:
        for days in (30, 170):
            request = pb.GetHistoryRequest(id="bitcoin", days=days, closes_first=True)
            found = (await stub.GetHistory(request, timeout=20)).history
            assert found.completeness == pb.HISTORY_COMPLETENESS_WHOLE
            assert all(candle.high for candle in found.candles)
        whole = (await stub.GetHistory(pb.GetHistoryRequest(id="solana", days=DAYS), timeout=20)).history
        assert all(candle.high for candle in whole.candles)


async def test_a_free_plan_stays_as_it_is(mock: RecordingUpstream, tmp_path: Path) -> None:
    async with market_over(mock, tmp_path, plan=PlanName.DEMO) as stub:
        found = await closes(stub, "bitcoin")
        assert found.completeness == pb.HISTORY_COMPLETENESS_CUT_BY_PLAN
        assert len(mock.charts) == 1


async def test_a_coin_without_closes_is_not_deepened(mock: RecordingUpstream, tmp_path: Path) -> None:
    mock.extra["coins/solana/market_chart"] = {"error": "down"}
    async with market_over(mock, tmp_path, plan=PlanName.ANALYST) as stub:
        with pytest.raises(Unavailable):
            await closes(stub, "solana")
        whole = await until_whole(stub, "bitcoin")
        assert all(candle.high for candle in whole.candles)
    assert ("solana", SPAN) not in mock.charts
