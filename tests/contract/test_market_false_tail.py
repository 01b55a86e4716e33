"""The newest points of every chart are false in one fetch and true again later; the archive is empty."""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from coincast.market.v1 import market_pb2 as pb
from coincast_chassis.clock import ManualClock
from coincast_chassis.errors import CoincastError, Unavailable
from coincast_market_data.archive.hourly_store import HourlyArchive
from coincast_market_data.archive.store import Archive
from coincast_market_data.coingecko.api_plans import PlanName
from coincast_market_data.domain import Candle, HourlyCandle
from coincast_market_data.history.candle_builder import last_closed_day
from coincast_market_data.validation.outliers import CONFIRMED_AFTER_SECONDS
from tests.contract.market_mock import MockUpstream, market_over
from tests.contract.test_market_commands import command

FALSE_POINTS = 5
FACTOR = 1000.0
TRUE_PRICE = 100.0


class FalseTail(MockUpstream):
    """An upstream that multiplies the last points of each chart while `false` is set."""

    false = True

    def _chart(self, query: dict[str, str], price: float) -> dict[str, list[list[float]]]:
        chart = super()._chart(query, price)
        if self.false:
            for rows in chart.values():
                rows[-FALSE_POINTS:] = [[at, value * FACTOR] for at, value in rows[-FALSE_POINTS:]]
        return chart


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(time.time() // 86_400 * 86_400 + 43_200)


@pytest.fixture
def mock(clock: ManualClock) -> FalseTail:
    return FalseTail(clock)


async def closes(stub: Any, days: int, interval: Any = pb.CANDLE_INTERVAL_ONE_DAY) -> tuple[set[float], Any]:
    reply = await stub.GetHistory(
        pb.GetHistoryRequest(id="bitcoin", days=days, interval=interval), timeout=10
    )
    found = reply.history
    return {candle.close for candle in (*found.candles, *found.hourly_candles)}, found


@pytest.mark.parametrize("plan", [PlanName.DEMO, PlanName.PRO])
@pytest.mark.parametrize("spot_first", [True, False], ids=["spot known", "no spot"])
@pytest.mark.parametrize("days", [3, 10, 120, 300])
async def test_false_days_are_neither_served_nor_kept(
    mock: FalseTail, clock: ManualClock, tmp_path: Path, *, days: int, spot_first: bool, plan: PlanName
) -> None:
    question = pb.GetPricesRequest(ids=["bitcoin"])
    async with market_over(mock, tmp_path, plan=plan) as stub:
        if spot_first:
            await stub.GetPrices(question, timeout=10)
        seen, unconfirmed = await closes(stub, days)
        assert seen == {TRUE_PRICE}
        assert len(unconfirmed.candles) == days or unconfirmed.in_doubt
        assert (await stub.GetPrices(question, timeout=10)).prices[0].price == TRUE_PRICE
        mock.false = False
        clock.advance(CONFIRMED_AFTER_SECONDS + 1)
        seen, healed = await closes(stub, days)
        assert seen == {TRUE_PRICE}
        assert len(healed.candles) == days
        assert not healed.in_doubt
    async with market_over(mock, tmp_path, plan=plan) as stub:
        assert len((await closes(stub, 10))[1].candles) == 10, "and on the disk"


async def test_false_hours_are_neither_served_nor_kept(
    mock: FalseTail, clock: ManualClock, tmp_path: Path
) -> None:
    async with market_over(mock, tmp_path) as stub:
        seen, _ = await closes(stub, 2, pb.CANDLE_INTERVAL_ONE_HOUR)
        assert seen == {TRUE_PRICE}
        mock.false = False
        clock.advance(CONFIRMED_AFTER_SECONDS + 300)
        seen, healed = await closes(stub, 2, pb.CANDLE_INTERVAL_ONE_HOUR)
        assert seen == {TRUE_PRICE}
        assert len(healed.hourly_candles) == 48


@pytest.mark.parametrize(
    ("path", "days"), [("coins/bitcoin/market_chart", "2"), ("coins/bitcoin/market_chart", "200")]
)
@pytest.mark.parametrize("spot_first", [True, False], ids=["spot known", "no spot"])
async def test_a_chart_whose_newest_points_are_false_is_not_passed_on(
    mock: FalseTail, clock: ManualClock, tmp_path: Path, *, path: str, days: str, spot_first: bool
) -> None:
    request = pb.GetDocumentRequest(path=path, query={"vs_currency": "usd", "days": days})
    async with market_over(mock, tmp_path) as stub:
        if spot_first:
            await stub.GetPrices(pb.GetPricesRequest(ids=["bitcoin"]), timeout=10)
        with pytest.raises(CoincastError, match="far off"):
            await stub.GetDocument(request, timeout=10)
        mock.false = False
        clock.advance(CONFIRMED_AFTER_SECONDS + 1)
        chart = orjson.loads((await stub.GetDocument(request, timeout=10)).json)
        assert {price for _, price in chart["prices"]} == {TRUE_PRICE}


async def test_days_in_doubt_are_no_missing_coin(mock: FalseTail, clock: ManualClock, tmp_path: Path) -> None:
    chart = MockUpstream(clock)._chart({"days": "89"}, TRUE_PRICE)
    for rows in chart.values():
        rows[-120:] = [[at, value * FACTOR] for at, value in rows[-120:]]
    mock.extra["coins/bitcoin/market_chart"] = chart
    async with market_over(mock, tmp_path) as stub:
        with pytest.raises(Unavailable, match="confirm"):
            await closes(stub, 3)


async def store_days(folder: Path, clock: ManualClock, false: set[int], days: int = 40) -> None:
    """Fill an archive whose days so far back are false, as an earlier version may have left it."""
    last = last_closed_day(clock.now())
    candles = [
        Candle(last - timedelta(days=back), TRUE_PRICE * (FACTOR if back in false else 1.0))
        for back in reversed(range(days))
    ]
    archive = Archive(folder / "sandbox")
    archive.open()
    await archive.add("bitcoin", "usd", candles)
    archive.close()


@pytest.mark.parametrize(
    "false", [{0, 1, 2, 3, 4}, {7}, {10, 11, 12}, {0, 20, 21}], ids=["end", "day", "island", "both"]
)
async def test_false_days_in_the_archive_are_fetched_again_and_put_aside(
    mock: FalseTail, clock: ManualClock, tmp_path: Path, false: set[int]
) -> None:
    mock.false = False
    await store_days(tmp_path, clock, false)
    question = pb.GetPricesRequest(ids=["bitcoin"])
    async with market_over(mock, tmp_path) as stub:
        # The archive may make the true price look false, until it is fetched again.
        with contextlib.suppress(Unavailable):
            await stub.GetPrices(question, timeout=10)
        seen, found = await closes(stub, 40)
        assert seen == {TRUE_PRICE}
        if found.in_doubt:
            # On a busy machine the fetch ends after the short wait of a caller whose history is nearly whole.
            await asyncio.sleep(1)
            seen, found = await closes(stub, 40)
        assert (seen, len(found.candles)) == ({TRUE_PRICE}, 40)
        status = await stub.GetStatus(pb.GetStatusRequest(quality_ids=["bitcoin"]), timeout=10)
        assert any("stored days" in note for note in status.quality[0].notes)
        clock.advance(31)
        assert (await stub.GetPrices(question, timeout=10)).prices[0].price == TRUE_PRICE
    revisions = list((tmp_path / "sandbox" / "revisions" / "usd" / "bitcoin").iterdir())
    assert revisions, "the former history is kept as a revision"


async def test_odd_days_that_cannot_be_fetched_again_are_not_served(
    mock: FalseTail, clock: ManualClock, tmp_path: Path
) -> None:
    await store_days(tmp_path, clock, {7})
    for path in ("market_chart", "market_chart/range"):
        mock.extra[f"coins/bitcoin/{path}"] = {"error": "down"}
    async with market_over(mock, tmp_path) as stub:
        seen, found = await closes(stub, 40)
        assert seen == {TRUE_PRICE}
        assert found.in_doubt
        assert found.completeness == pb.HISTORY_COMPLETENESS_PARTIAL
        assert found.retry_after_seconds > 0


async def test_odd_days_that_the_source_repeats_are_true(
    mock: FalseTail, clock: ManualClock, tmp_path: Path
) -> None:
    mock.false = False
    chart = MockUpstream(clock)._chart({"days": "89"}, TRUE_PRICE)
    odd = clock.now() // 86_400 * 86_400 - 7 * 86_400
    for rows in chart.values():
        rows[:] = [[at, value * (FACTOR if odd < at / 1000 <= odd + 86_400 else 1)] for at, value in rows]
    mock.extra["coins/bitcoin/market_chart"] = chart
    async with market_over(mock, tmp_path) as stub:
        assert (await closes(stub, 40))[0] == {TRUE_PRICE}
        clock.advance(CONFIRMED_AFTER_SECONDS + 1)
        seen, found = await closes(stub, 40)
        assert seen == {TRUE_PRICE, TRUE_PRICE * FACTOR}
        assert not found.in_doubt
        calls = mock.calls.total()
        clock.advance(CONFIRMED_AFTER_SECONDS + 1)
        await closes(stub, 40)
        assert mock.calls.total() == calls, "not checked again"


async def test_a_refetched_history_with_a_false_end_replaces_nothing(
    mock: FalseTail, clock: ManualClock, tmp_path: Path
) -> None:
    mock.false = False
    async with market_over(mock, tmp_path, plan=PlanName.PRO) as stub:
        await closes(stub, 200)
        mock.false = True
        clock.advance(30)
        request = pb.BackfillRequest(ids=["bitcoin"], days=200, refetch=True)
        (step,) = [part async for part in stub.Backfill(request)]
        assert "not replaced" in step.error.message
        assert (await closes(stub, 200))[0] == {TRUE_PRICE}


async def test_repair_judges_the_whole_archive_again(
    mock: FalseTail, clock: ManualClock, tmp_path: Path
) -> None:
    mock.false = False
    await store_days(tmp_path, clock, {0, 1, 30, 31})
    async with market_over(mock, tmp_path) as stub:
        dry = [step async for step in stub.Repair(pb.RepairRequest(dry_run=True))]
        assert [(step.id, step.vs_currency) for step in dry] == [("bitcoin", "usd")]
        code, output, errors = await command("repair", "--target", stub.address)
        assert code == 0, errors
        assert output.splitlines()[-1] == "1 coins checked; 4 days quarantined, 4 fetched; 0 coins failed"
        assert (await closes(stub, 40))[0] == {TRUE_PRICE}
        (again,) = [step async for step in stub.Repair(pb.RepairRequest(ids=["bitcoin"]))]
        assert not again.implausible_dates
        (unknown,) = [step async for step in stub.Repair(pb.RepairRequest(ids=["nonsense"]))]
        assert "nothing of nonsense is stored" in unknown.error.message
    assert list((tmp_path / "sandbox" / "revisions" / "usd" / "bitcoin").iterdir())


async def test_repair_takes_false_hours_out(mock: FalseTail, clock: ManualClock, tmp_path: Path) -> None:
    mock.false = False
    await store_days(tmp_path, clock, set())
    noon = int(clock.now()) // 3600 * 3600 - 30 * 3600
    archive = Archive(tmp_path / "sandbox")
    archive.open()
    store = HourlyArchive(archive, retention_days=0)
    await store.add("bitcoin", "usd", [HourlyCandle(noon, TRUE_PRICE * FACTOR)], noon + 3600)
    archive.close()
    async with market_over(mock, tmp_path) as stub:
        (step,) = [step async for step in stub.Repair(pb.RepairRequest())]
        assert (step.implausible_hours, step.error.message) == (1, "")
        assert step.hours_fetched >= 1
        assert (await closes(stub, 3, pb.CANDLE_INTERVAL_ONE_HOUR))[0] == {TRUE_PRICE}


async def test_a_repair_that_cannot_fetch_changes_nothing(
    mock: FalseTail, clock: ManualClock, tmp_path: Path
) -> None:
    await store_days(tmp_path, clock, {7})
    for path in ("market_chart", "market_chart/range"):
        mock.extra[f"coins/bitcoin/{path}"] = {"error": "down"}
    async with market_over(mock, tmp_path) as stub:
        code, output, _ = await command("repair", "--target", stub.address)
        assert code == 1
        assert "1 coins failed" in output
    archive = Archive(tmp_path / "sandbox")
    archive.open()
    assert len(await archive.read("bitcoin", "usd")) == 40
    archive.close()


@pytest.mark.parametrize(
    ("days", "ends"),
    [({7}, (1e9, TRUE_PRICE)), ({7, 20}, (TRUE_PRICE, 1e-4)), ({0}, (1e9, TRUE_PRICE)), ({39}, (1e9, 1e-4))],
    ids=["high", "lows", "newest", "both, oldest"],
)
async def test_repair_fetches_false_highs_and_lows_again(
    mock: FalseTail, clock: ManualClock, tmp_path: Path, days: set[int], ends: tuple[float, float]
) -> None:
    mock.false = False
    last = last_closed_day(clock.now())
    await store_ranges(tmp_path, last, {last - timedelta(days=back): ends for back in days})
    async with market_over(mock, tmp_path) as stub:
        (dry,) = [step async for step in stub.Repair(pb.RepairRequest(dry_run=True))]
        assert set(dry.implausible_range_dates) == {(last - timedelta(days=n)).isoformat() for n in days}
        assert not dry.implausible_dates
        (step,) = [step async for step in stub.Repair(pb.RepairRequest())]
        assert (step.ranges_put_aside, step.ranges_confirmed) == (len(days), 0)
        assert step.ranges_fetched == len(days)
        (again,) = [step async for step in stub.Repair(pb.RepairRequest())]
        assert not again.implausible_range_dates
        found = (await closes(stub, 40))[1]
        assert {candle.high for candle in found.candles} == {TRUE_PRICE}
        assert len(found.candles) == 40
    assert list((tmp_path / "sandbox" / "revisions" / "usd" / "bitcoin").iterdir())


async def test_a_false_range_that_cannot_be_fetched_is_kept_and_beyond_reach_dropped(
    mock: FalseTail, clock: ManualClock, tmp_path: Path
) -> None:
    mock.false = False
    last = last_closed_day(clock.now())
    far = last - timedelta(days=500)
    await store_ranges(tmp_path, last, {far: (1e9, TRUE_PRICE)}, days=520)
    async with market_over(mock, tmp_path, plan=PlanName.DEMO) as stub:
        (step,) = [step async for step in stub.Repair(pb.RepairRequest())]
        assert (step.ranges_put_aside, step.ranges_fetched, step.error.message) == (1, 0, "")
        found = (await closes(stub, 520))[1]
        dropped = next(candle for candle in found.candles if candle.date == far.isoformat())
        assert not dropped.HasField("high")
        assert dropped.close == TRUE_PRICE


async def store_ranges(
    folder: Path, last: date, false: dict[date, tuple[float, float]], days: int = 40
) -> None:
    """Fill an archive with true closes, of which some days have other highs and lows."""
    candles = []
    for back in reversed(range(days)):
        day = last - timedelta(days=back)
        high, low = false.get(day, (TRUE_PRICE, TRUE_PRICE))
        candles.append(Candle(day, TRUE_PRICE, TRUE_PRICE, high, low))
    archive = Archive(folder / "sandbox")
    archive.open()
    await archive.add("bitcoin", "usd", candles)
    archive.close()
