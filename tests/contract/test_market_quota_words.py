"""Who waits for the quota, and what callers and operators read about it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest

from coincast.market.v1 import market_pb2 as pb
from coincast_chassis.errors import CoincastError, Unavailable
from coincast_market_data.cache.read_through import LATE_RETRY_SECONDS
from coincast_market_data.grpc.status import queue_in_words
from tests.contract.market_mock import Body, MockUpstream, market_over, noon_clock

PAUSE_SECONDS = 20
LIMIT = 10


class LimitingUpstream(MockUpstream):
    """An upstream that answers 429 to everything while `limited`, and is silent while `silent`."""

    limited = False
    silent = False

    async def answer(self, request: httpx2.Request) -> httpx2.Response:
        if self.limited:
            headers = {"retry-after": str(PAUSE_SECONDS), "x-coincast-sandbox": "1"}
            return httpx2.Response(429, headers=headers, stream=Body(b'{"status": {"error_code": 429}}'))
        if self.silent:
            await asyncio.sleep(5)
        return await super().answer(request)


@pytest.fixture
def mock() -> LimitingUpstream:
    return LimitingUpstream()


# The service answers a tenth of this before the caller gives up, which a busy machine must not use up.
DEADLINE = 2.5
CALLS = {
    "prices": lambda stub: stub.GetPrices(pb.GetPricesRequest(ids=["ethereum"]), timeout=DEADLINE),
    "history": lambda stub: stub.GetHistory(pb.GetHistoryRequest(id="ethereum", days=30), timeout=DEADLINE),
    "hours": lambda stub: stub.GetHistory(
        pb.GetHistoryRequest(id="ethereum", days=3, interval=pb.CANDLE_INTERVAL_ONE_HOUR),
        timeout=DEADLINE,
    ),
    "document": lambda stub: stub.GetDocument(pb.GetDocumentRequest(path="coins/ethereum"), timeout=DEADLINE),
    "markets": lambda stub: stub.GetMarkets(pb.GetMarketsRequest(ids=["ethereum"]), timeout=DEADLINE),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_a_caller_whose_time_ends_in_the_queue_reads_of_the_quota(
    mock: LimitingUpstream, tmp_path: Path, call: Any
) -> None:
    async with market_over(mock, tmp_path, quota_wait_seconds=60.0, max_attempts=1) as stub:
        mock.limited = True
        refusal = await stub.GetDocument(pb.GetDocumentRequest(path="coins/bitcoin"), timeout=10)
        assert refusal.error_status == 429
        with pytest.raises(Unavailable, match="plan") as refused:
            await call(stub)
    assert 0 < (refused.value.retry_after_seconds or 0) <= PAUSE_SECONDS


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_a_slow_upstream_is_no_lack_of_quota(mock: LimitingUpstream, tmp_path: Path, call: Any) -> None:
    async with market_over(mock, tmp_path) as stub:
        mock.silent = True
        with pytest.raises(Unavailable, match="CoinGecko did not answer in time") as late:
            await call(stub)
    assert late.value.retry_after_seconds == LATE_RETRY_SECONDS


async def spend(stub: Any, calls: int) -> None:
    for number in range(calls):
        await stub.GetDocument(pb.GetDocumentRequest(path=f"coins/coin-{number}"), timeout=10)


async def first_chunk(stub: Any, *, bulk: bool) -> str:
    request = pb.StreamHistoryRequest(ids=["bitcoin"], days=30, bulk=bulk)
    # A bulk reader waits for the limit, longer than this; a caller is answered, on a busy machine later.
    stream = stub.StreamHistory(request, timeout=1.5 if bulk else 10.0)
    async for reply in stream:
        return str(reply.WhichOneof("chunk"))
    return "nothing"


async def test_the_histories_of_a_caller_come_before_those_of_a_bulk_reader(
    mock: LimitingUpstream, tmp_path: Path
) -> None:
    async with market_over(mock, tmp_path, per_minute_limit=LIMIT) as stub:
        status = await stub.GetStatus(pb.GetStatusRequest(), timeout=10)
        await spend(stub, int(status.quota.per_minute_left) - 2)
        with pytest.raises(CoincastError):
            await first_chunk(stub, bulk=True)
        waiting = (await stub.GetStatus(pb.GetStatusRequest(), timeout=10)).queue
        assert [(part.priority, part.waiting) for part in waiting.by_priority] == [("bulk", 1)]
        assert waiting.waiting == 1
        assert waiting.current == "history of bitcoin"
        assert 0 < waiting.seconds_left <= 70
        assert waiting.in_words.startswith(waiting.current or f"{waiting.waiting} calls wait")
        assert " calls left this minute, about " in waiting.in_words
        assert await first_chunk(stub, bulk=False) == "history"


async def test_a_backfill_tells_the_calls_and_the_time_that_are_left(tmp_path: Path) -> None:
    mock = MockUpstream(noon_clock())
    async with market_over(mock, tmp_path, per_minute_limit=50) as stub:
        request = pb.BackfillRequest(ids=["bitcoin", "ethereum"], days=30)
        steps = [step async for step in stub.Backfill(request)]
    assert [step.HasField("seconds_left") for step in steps] == [True, True]
    assert steps[-1].seconds_left == 0
    assert 0 < steps[-1].calls_left_this_minute < steps[0].calls_left_this_minute <= 50


async def test_no_queue_is_reported_where_nothing_waits(tmp_path: Path) -> None:
    async with market_over(MockUpstream(noon_clock()), tmp_path) as stub:
        queue = (await stub.GetStatus(pb.GetStatusRequest(), timeout=10)).queue
    assert (queue.waiting, queue.seconds_left, queue.current, queue.in_words) == (0, 0.0, "", "")


@pytest.mark.parametrize(
    ("current", "waiting", "calls_left", "seconds_left", "words"),
    [
        ("history of bitcoin", 0, None, 0.0, "history of bitcoin"),
        ("history of bitcoin", 3, 7, 24.4, "history of bitcoin, 7 calls left this minute, about 24 s left"),
        ("", 3, 0, 61.0, "3 calls wait, 0 calls left this minute, about 61 s left"),
        ("", 0, 7, 0.0, ""),
    ],
)
def test_the_work_of_the_upstream_in_words(
    *, current: str, waiting: int, calls_left: int | None, seconds_left: float, words: str
) -> None:
    assert queue_in_words(current, waiting, calls_left, seconds_left) == words
