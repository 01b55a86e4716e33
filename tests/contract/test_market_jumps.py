"""A figure tenfold off all that is known is served and kept by no path until fetches keep saying it."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from prometheus_client import REGISTRY

from coincast.common.v1 import common_pb2
from coincast.market.v1 import market_pb2 as pb
from coincast_chassis.clock import ManualClock
from coincast_chassis.errors import Unavailable
from coincast_market_data.history.gap_filler import HOURLY_DAYS
from coincast_market_data.validation.outliers import CONFIRMED_AFTER_SECONDS
from tests.contract.market_mock import MockUpstream, market_over

SERIES = ("market_chart", "range", "ohlc")


def counted(reason: str) -> float:
    return REGISTRY.get_sample_value("coincast_market_quarantined_total", {"reason": reason}) or 0.0


async def markets(stub: Any) -> Any:
    return await stub.GetMarkets(pb.GetMarketsRequest(ids=["bitcoin", "ethereum"]), timeout=10)


async def history(stub: Any, days: int) -> list[float]:
    reply = await stub.GetHistory(pb.GetHistoryRequest(id="bitcoin", days=days), timeout=10)
    return [candle.close for candle in reply.history.candles]


async def document(stub: Any, path: str, **query: str) -> Any:
    return orjson.loads((await stub.GetDocument(pb.GetDocumentRequest(path=path, query=query))).json)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(time.time() // 86_400 * 86_400 + 43_200)


@pytest.fixture
def mock(clock: ManualClock) -> MockUpstream:
    return MockUpstream(clock)


async def test_a_market_row_that_jumps_is_an_error_until_it_is_confirmed(
    mock: MockUpstream, clock: ManualClock, tmp_path: Path
) -> None:
    async with market_over(mock, tmp_path, markets_fresh_seconds=1.0, stale_if_error_seconds=0.0) as stub:
        assert [row.price for row in (await markets(stub)).markets] == [100.0, 100.0]
        before = counted("jump")
        mock.factors["markets"] = 50.0
        clock.advance(30)
        held = await markets(stub)
        assert not held.markets
        assert {(e.id, e.kind) for e in held.errors} == {
            ("bitcoin", common_pb2.ERROR_KIND_UNAVAILABLE),
            ("ethereum", common_pb2.ERROR_KIND_UNAVAILABLE),
        }
        assert counted("jump") == before + 2
        clock.advance(CONFIRMED_AFTER_SECONDS + 1)
        assert [row.price for row in (await markets(stub)).markets] == [5000.0, 5000.0], "it is true"


async def test_mirrored_documents_are_held_against_the_same_prices(
    mock: MockUpstream, clock: ManualClock, tmp_path: Path
) -> None:
    async with market_over(mock, tmp_path, markets_fresh_seconds=1.0, stale_if_error_seconds=0.0) as stub:
        await stub.GetPrices(pb.GetPricesRequest(ids=["bitcoin", "ethereum"]), timeout=10)
        mock.price = 5000.0
        assert await document(stub, "coins/markets", vs_currency="usd") == []
        assert (await document(stub, "coins/bitcoin"))["market_data"]["current_price"] == {}
        named = await document(stub, "simple/price", names="Bitcoin", vs_currencies="usd")
        assert named == {"bitcoin": {}, "ethereum": {}}
        clock.advance(CONFIRMED_AFTER_SECONDS + 1)
        assert (await document(stub, "coins/bitcoin"))["market_data"]["current_price"] == {"usd": 5000.0}


async def test_a_new_process_holds_its_first_price_against_the_archive(
    mock: MockUpstream, clock: ManualClock, tmp_path: Path
) -> None:
    async with market_over(mock, tmp_path) as stub:
        await history(stub, 5)
    mock.price = 5000.0
    question = pb.GetPricesRequest(ids=["bitcoin"])
    async with market_over(mock, tmp_path) as stub:
        with pytest.raises(Unavailable, match="far off"):
            await stub.GetPrices(question, timeout=10)
        rows = (await markets(stub)).markets
        assert [row.id for row in rows] == ["ethereum"], "of which nothing is kept"
        clock.advance(CONFIRMED_AFTER_SECONDS + 1)
        assert (await stub.GetPrices(question, timeout=10)).prices[0].price == 5000.0
    clock.advance(40 * 86_400)
    mock.price = 90_000.0
    async with market_over(mock, tmp_path) as stub:
        reply = await stub.GetPrices(question, timeout=10)
        assert reply.prices[0].price == 90_000.0, "what is long ago says nothing"


@pytest.mark.parametrize("factor", [1.6, 1.9, 3.0, 4.9, 1 / 1.6, 0.3])
async def test_a_first_price_far_off_yesterdays_close_waits_for_a_second_look(
    mock: MockUpstream, clock: ManualClock, tmp_path: Path, factor: float
) -> None:
    question = pb.GetPricesRequest(ids=["bitcoin"])
    async with market_over(mock, tmp_path) as stub:
        await history(stub, 5)
    mock.price = 100.0 * factor
    async with market_over(mock, tmp_path) as stub:
        with pytest.raises(Unavailable, match="far off"):
            await stub.GetPrices(question, timeout=10)
        clock.advance(31)
        taken = (await stub.GetPrices(question, timeout=10)).prices[0]
        assert taken.price == mock.price, "the second look says the same"
        assert not taken.provenance.stale
    async with market_over(mock, tmp_path) as stub:
        with pytest.raises(Unavailable, match="far off"):
            await stub.GetPrices(question, timeout=10)
        mock.price = 101.0
        clock.advance(31)
        assert (await stub.GetPrices(question, timeout=10)).prices[0].price == 101.0, "it was a slip"


@pytest.mark.parametrize("factor", [1.45, 1.0, 1 / 1.45])
async def test_a_first_price_within_a_days_move_is_served_at_once(
    mock: MockUpstream, clock: ManualClock, tmp_path: Path, factor: float
) -> None:
    async with market_over(mock, tmp_path) as stub:
        await history(stub, 5)
    mock.price = 100.0 * factor
    async with market_over(mock, tmp_path) as stub:
        reply = await stub.GetPrices(pb.GetPricesRequest(ids=["bitcoin"]), timeout=10)
        assert reply.prices[0].price == mock.price
        assert not reply.prices[0].provenance.stale


async def test_a_reply_that_is_off_as_a_whole_is_not_kept_beside_good_days(
    mock: MockUpstream, clock: ManualClock, tmp_path: Path
) -> None:
    async with market_over(mock, tmp_path) as stub:
        assert set(await history(stub, 5)) == {100.0}
        mock.factors = dict.fromkeys(SERIES, 50.0)
        clock.advance(30)
        reply = await stub.GetHistory(pb.GetHistoryRequest(id="bitcoin", days=120), timeout=10)
        assert [candle.close for candle in reply.history.candles] == [100.0] * HOURLY_DAYS
        assert reply.history.completeness == pb.HISTORY_COMPLETENESS_PARTIAL
        assert reply.history.in_doubt
        assert "far off" in reply.history.truncated_reason
        status = await stub.GetStatus(pb.GetStatusRequest(quality_ids=["bitcoin"]), timeout=10)
        assert status.quality[0].quarantined_points == 120 - HOURLY_DAYS
        calls = mock.calls.total()
        clock.advance(60)
        await history(stub, 120)
        assert mock.calls.total() == calls, "not requested again at once"
        mock.factors = {}
        clock.advance(CONFIRMED_AFTER_SECONDS + 1)
        assert await history(stub, 120) == [100.0] * 120, "it was a slip"


async def test_a_day_after_a_true_fall_is_kept_once_it_is_confirmed(
    mock: MockUpstream, clock: ManualClock, tmp_path: Path
) -> None:
    async with market_over(mock, tmp_path) as stub:
        await history(stub, 5)
        midnight = clock.now() // 86_400 * 86_400
        clock.advance(86_400)
        chart = mock._chart({"days": "3"}, 100.0)
        for rows in chart.values():
            rows[:] = [[at, value if at / 1000 <= midnight else 1.0] for at, value in rows]
        mock.extra["coins/bitcoin/market_chart"] = chart
        assert await history(stub, 6) == [100.0] * 5
        clock.advance(CONFIRMED_AFTER_SECONDS + 1)
        assert await history(stub, 6) == [100.0] * 5 + [1.0]


def damage(folder: Path) -> None:
    """Make the former candles below a folder unreadable."""
    for path in folder.glob("**/revisions/**/*.parquet"):
        path.write_bytes(b"half a file")


async def test_a_restated_history_is_fetched_again_as_a_whole(
    mock: MockUpstream, clock: ManualClock, tmp_path: Path
) -> None:
    async with market_over(mock, tmp_path) as stub:
        await history(stub, 120)
        before = clock.now()
        clock.advance(86_400)
        mock.price = 1.0
        question = pb.GetHistoryRequest(id="bitcoin", days=121)
        unconfirmed = (await stub.GetHistory(question, timeout=10)).history
        assert {candle.close for candle in unconfirmed.candles} == {100.0}
        assert unconfirmed.in_doubt
        assert unconfirmed.completeness == pb.HISTORY_COMPLETENESS_PARTIAL
        clock.advance(CONFIRMED_AFTER_SECONDS + 1)
        restated = (await stub.GetHistory(question, timeout=10)).history
        assert [candle.close for candle in restated.candles] == [1.0] * 121
        assert not restated.in_doubt
        status = await stub.GetStatus(pb.GetStatusRequest(quality_ids=["bitcoin"]), timeout=10)
        assert "fetched again" in status.quality[0].notes[0]
        question.days = 120
        question.known_at.FromMicroseconds(int(before * 1e6))
        known = (await stub.GetHistory(question, timeout=10)).history
        assert [candle.close for candle in known.candles] == [100.0] * 120
        assert known.known_at == question.known_at
        assert "restated later" in known.quality_notes[0]
        damage(tmp_path)
        known = (await stub.GetHistory(question, timeout=10)).history
        assert [candle.close for candle in known.candles] == [1.0] * 120
        at = f"{datetime.fromtimestamp(clock.now(), UTC):%Y-%m-%dT%H:%M:%SZ}"
        assert f"restated at {at}, which these figures include" in known.quality_notes[0]


@pytest.mark.parametrize("factor", [0.01, 0.25, 1000.0])
@pytest.mark.parametrize("first", ["days", "hours"])
async def test_hours_of_a_restated_history_never_mix_two_scales(
    mock: MockUpstream, clock: ManualClock, tmp_path: Path, factor: float, first: str
) -> None:
    daily = pb.GetHistoryRequest(id="bitcoin", days=30)
    hourly = pb.GetHistoryRequest(id="bitcoin", days=20, interval=pb.CANDLE_INTERVAL_ONE_HOUR)

    async def ask(stub: Any) -> pb.History:
        for request in (daily, hourly) if first == "days" else (hourly, daily):
            await stub.GetHistory(request, timeout=10)
        return (await stub.GetHistory(hourly, timeout=10)).history

    async with market_over(mock, tmp_path) as stub:
        assert {hour.close for hour in (await ask(stub)).hourly_candles} == {100.0}
        before = clock.now()
        clock.advance(86_400)
        mock.price = 100.0 * factor
        unconfirmed = await ask(stub)
        assert {hour.close for hour in unconfirmed.hourly_candles} == {100.0}
        assert unconfirmed.in_doubt
        assert unconfirmed.completeness == pb.HISTORY_COMPLETENESS_PARTIAL
        clock.advance(CONFIRMED_AFTER_SECONDS + 1)
        restated = await ask(stub)
        assert {hour.close for hour in restated.hourly_candles} == {100.0 * factor}
        assert len(restated.hourly_candles) == 20 * 24
        assert not restated.in_doubt
        status = await stub.GetStatus(pb.GetStatusRequest(quality_ids=["bitcoin"]), timeout=10)
        assert any("hours contradicted the days" in note for note in status.quality[0].notes)
        hourly.known_at.FromMicroseconds(int(before * 1e6))
        known = (await stub.GetHistory(hourly, timeout=10)).history
        assert {hour.close for hour in known.hourly_candles} == {100.0}


async def test_a_mirrored_chart_of_another_scale_leaves_no_hours_behind(
    mock: MockUpstream, clock: ManualClock, tmp_path: Path
) -> None:
    async with market_over(mock, tmp_path) as stub:
        await history(stub, 30)
        clock.advance(3600)
        mock.price = 25.0
        await document(stub, "coins/bitcoin/market_chart", vs_currency="usd", days="7")
        request = pb.GetHistoryRequest(id="bitcoin", days=20, interval=pb.CANDLE_INTERVAL_ONE_HOUR)
        found = (await stub.GetHistory(request, timeout=10)).history
        assert {hour.close for hour in found.hourly_candles} == {100.0}


async def test_restated_candles_never_stand_in_for_those_of_a_past_moment(
    mock: MockUpstream, clock: ManualClock, tmp_path: Path
) -> None:
    """Both are of the same days, and the JSON of the restated ones is cached."""
    async with market_over(mock, tmp_path) as stub:
        await history(stub, 30)
        before = clock.now()
        clock.advance(60)
        mock.price = 50.0
        request = pb.BackfillRequest(ids=["bitcoin"], days=30, refetch=True)
        assert [part async for part in stub.Backfill(request)]
        question = pb.GetHistoryRequest(id="bitcoin", days=30, encode_json=True)
        for price, moment in ((50.0, None), (100.0, before), (50.0, None)):
            question.ClearField("known_at")
            if moment is not None:
                question.known_at.FromMicroseconds(int(moment * 1e6))
            document = json.loads((await stub.GetHistory(question, timeout=10)).json)
            assert {candle["close"] for candle in document["candles"]} == {price}


async def test_a_backfill_can_fetch_a_history_again(
    mock: MockUpstream, clock: ManualClock, tmp_path: Path
) -> None:
    async with market_over(mock, tmp_path) as stub:
        await history(stub, 30)
        mock.price = 50.0
        request = pb.BackfillRequest(ids=["bitcoin"], days=30, refetch=True)
        (step,) = [part async for part in stub.Backfill(request)]
        assert step.candles_added >= 30
        assert await history(stub, 30) == [50.0] * 30
        for path in ("market_chart", "market_chart/range"):
            mock.extra[f"coins/bitcoin/{path}"] = {"error": "down"}
        (step,) = [part async for part in stub.Backfill(request)]
        assert step.HasField("error")
        assert await history(stub, 30) == [50.0] * 30, "nothing is replaced by half a history"


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("coins/bitcoin/market_chart", {"days": "2"}),
        ("coins/bitcoin/market_chart", {"days": "200"}),
        ("coins/bitcoin/ohlc", {"days": "7"}),
    ],
)
async def test_a_chart_that_is_off_as_a_whole_is_not_passed_on(
    mock: MockUpstream, clock: ManualClock, tmp_path: Path, path: str, query: dict[str, str]
) -> None:
    async with market_over(mock, tmp_path) as stub:
        await history(stub, 5)
        mock.factors = dict.fromkeys(SERIES, 50.0)
        clock.advance(30)
        with pytest.raises(Unavailable, match="far off"):
            await document(stub, path, vs_currency="usd", **query)
        clock.advance(CONFIRMED_AFTER_SECONDS + 1)
        assert await document(stub, path, vs_currency="usd", **query), "it is true"


async def test_a_candle_off_all_its_neighbours_is_put_aside(mock: MockUpstream, tmp_path: Path) -> None:
    rows = mock._document("coins/bitcoin/ohlc", {}, 100.0)
    rows[5] = [rows[5][0], 100.0, 9000.0, 100.0, 100.0]
    mock.extra["coins/bitcoin/ohlc"] = rows
    async with market_over(mock, tmp_path) as stub:
        reply = await stub.GetOhlc(pb.GetOhlcRequest(id="bitcoin", days=7), timeout=10)
    assert len(reply.candles) == len(rows) - 1
    assert {candle.high for candle in reply.candles} == {100.0}


async def test_questions_for_one_coin_at_the_same_time_are_one_fetch(
    mock: MockUpstream, tmp_path: Path
) -> None:
    async with market_over(mock, tmp_path) as stub:
        found = await asyncio.gather(*(history(stub, days) for days in (20, 60, 30, 50, 40)))
    assert [len(closes) for closes in found] == [20, 60, 30, 50, 40]
    assert mock.calls["coins/bitcoin/market_chart"] == 1


async def test_false_days_at_the_end_of_a_first_chart_are_not_kept(
    mock: MockUpstream, clock: ManualClock, tmp_path: Path
) -> None:
    chart = mock._chart({"days": "89"}, 100.0)
    for rows in chart.values():
        rows[-120:] = [[at, value * 1000] for at, value in rows[-120:]]
    mock.extra["coins/bitcoin/market_chart"] = chart
    async with market_over(mock, tmp_path) as stub:
        question = pb.GetHistoryRequest(id="bitcoin", days=10)
        unconfirmed = (await stub.GetHistory(question, timeout=10)).history
        assert {candle.close for candle in unconfirmed.candles} == {100.0}
        assert unconfirmed.in_doubt
        assert unconfirmed.completeness == pb.HISTORY_COMPLETENESS_PARTIAL
        mock.extra = {}
        clock.advance(CONFIRMED_AFTER_SECONDS + 1)
        healed = (await stub.GetHistory(question, timeout=10)).history
        assert [candle.close for candle in healed.candles] == [100.0] * 10
        assert not healed.in_doubt


@pytest.mark.parametrize("factor", [2.5, 9.5, 1 / 3])
async def test_a_spot_price_that_moves_far_in_one_fetch_waits_for_a_second_look(
    mock: MockUpstream, clock: ManualClock, tmp_path: Path, factor: float
) -> None:
    question = pb.GetPricesRequest(ids=["bitcoin"])
    async with market_over(mock, tmp_path, prices_fresh_seconds=30.0) as stub:
        await stub.GetPrices(question, timeout=10)
        mock.price = 100.0 * factor
        clock.advance(130)
        held = (await stub.GetPrices(question, timeout=10)).prices[0]
        assert held.price == 100.0
        assert held.provenance.stale
        assert "not confirmed" in held.provenance.reason
        clock.advance(31)
        taken = (await stub.GetPrices(question, timeout=10)).prices[0]
        assert taken.price == mock.price, "the second look says the same"
        assert not taken.provenance.stale


async def test_a_move_that_the_second_look_does_not_repeat_is_never_served(
    mock: MockUpstream, clock: ManualClock, tmp_path: Path
) -> None:
    question = pb.GetPricesRequest(ids=["bitcoin"])
    served = []
    async with market_over(mock, tmp_path, prices_fresh_seconds=30.0) as stub:
        await stub.GetPrices(question, timeout=10)
        for price in (950.0, 430.0, 101.0):
            mock.price = price
            clock.advance(130)
            served.append((await stub.GetPrices(question, timeout=10)).prices[0].price)
    assert served == [100.0, 100.0, 101.0]


async def test_a_true_price_is_accepted_at_once_after_a_false_one_where_the_archive_agrees(
    mock: MockUpstream, clock: ManualClock, tmp_path: Path
) -> None:
    question = pb.GetPricesRequest(ids=["bitcoin"])
    async with market_over(mock, tmp_path, prices_fresh_seconds=30.0) as stub:
        await history(stub, 5)
        await stub.GetPrices(question, timeout=10)
        mock.price = 100_000.0
        for _ in range(4):
            clock.advance(130)
            accepted = (await stub.GetPrices(question, timeout=10)).prices[0]
        assert accepted.price == 100_000.0, "repeated for minutes"
        mock.price = 102.0
        clock.advance(130)
        back = (await stub.GetPrices(question, timeout=10)).prices[0]
        assert (back.price, back.provenance.stale) == (102.0, False)
