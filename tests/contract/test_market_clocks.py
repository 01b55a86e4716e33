"""The machine's wall clock steps while the service runs; ages, windows and days stay right."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

from coincast.market.v1 import market_pb2 as pb
from coincast_chassis.clock import ManualClock
from coincast_chassis.errors import Unavailable
from coincast_market_data.settings import UpstreamName
from tests.contract.market_harness import running_market, settings_for
from tests.contract.market_mock import Body, MockUpstream

HOUR, DAY = 3600.0, 86_400.0
STEPS = {
    "+1 h": HOUR,
    "-1 h": -HOUR,
    "+2 d": 2 * DAY,
    "-2 d": -2 * DAY,
    "+1 y": 365 * DAY,
    "-1 y": -365 * DAY,
}
FRESH_SECONDS = 30.0


class DatedUpstream(MockUpstream):
    """CoinGecko by its true clock: `Date` on each reply, which a cache may have had for `age` seconds."""

    def __init__(self, truth: ManualClock) -> None:
        super().__init__(truth)
        self.away = False
        self.age = 0.0

    async def answer(self, request: httpx2.Request) -> httpx2.Response:
        if self.away:
            return httpx2.Response(503, stream=Body(b"{}"))
        reply = await super().answer(request)
        date_ = datetime.fromtimestamp(self.now() - self.age, UTC)
        reply.headers = httpx2.Headers({"date": format_datetime(date_, usegmt=True)})
        if self.age:
            reply.headers["age"] = str(int(self.age))
        return reply

    def _document(self, path: str, query: dict[str, str], price: float) -> Any:
        document = super()._document(path, query, price)
        if path == "simple/price":
            for row in document.values():
                row["last_updated_at"] = int(self.now() - self.age - 5)
        return document


class Machine:
    """True time, and the machine's clocks: the monotonic one follows it, the wall clock steps."""

    def __init__(self) -> None:
        noon = time.time() // DAY * DAY + DAY / 2
        self.truth, self.clock = ManualClock(noon), ManualClock(noon)

    def advance(self, seconds: float) -> None:
        self.truth.advance(seconds)
        self.clock.advance(seconds)

    def step(self, seconds: float) -> None:
        self.clock.set_wall(self.clock.now() + seconds)

    @property
    def last_closed(self) -> date:
        return datetime.fromtimestamp(self.truth.now(), UTC).date() - timedelta(days=1)


@pytest.fixture
def machine() -> Machine:
    return Machine()


@asynccontextmanager
async def service(machine: Machine, mock: DatedUpstream, folder: Path) -> AsyncIterator[Any]:
    settings = settings_for(mock, folder, upstream=UpstreamName.COINGECKO, prices_fresh_seconds=FRESH_SECONDS)
    transport = httpx2.MockTransport(mock.answer)
    async with running_market(settings, clock=machine.clock, transport=transport) as stub:
        yield stub


@pytest.mark.parametrize("away", [False, True], ids=["upstream there", "upstream away"])
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
async def test_prices_and_days_are_as_old_as_they_are(
    machine: Machine, tmp_path: Path, *, step: float, away: bool
) -> None:
    mock = DatedUpstream(machine.truth)
    question = pb.GetPricesRequest(ids=["bitcoin"])
    history = pb.GetHistoryRequest(id="bitcoin", days=10)
    async with service(machine, mock, tmp_path) as stub:
        await stub.GetPrices(question, timeout=10)
        assert len((await stub.GetHistory(history, timeout=10)).history.candles) == 10
        machine.step(step)
        mock.away = away
        machine.advance(20)
        where = (await stub.GetPrices(question, timeout=10)).prices[0].provenance
        assert (where.age_seconds, where.stale) == (pytest.approx(25, abs=1), False), "fresh for 30 s"
        machine.advance(180)
        where = (await stub.GetPrices(question, timeout=10)).prices[0].provenance
        if away:
            assert (where.age_seconds, where.stale) == (pytest.approx(205, abs=1), True)
            with pytest.raises(Unavailable):
                await stub.GetPrices(pb.GetPricesRequest(ids=["bitcoin"], max_age_seconds=60), timeout=10)
        else:
            assert (where.age_seconds, where.stale) == (pytest.approx(5, abs=1), False)
        found = (await stub.GetHistory(history, timeout=10)).history
        assert found.candles[-1].date == machine.last_closed.isoformat(), "no day is lost or gained"
        assert not found.provenance.stale
        machine.advance(DAY)
        found = (await stub.GetHistory(history, timeout=10)).history
        if away:
            assert found.provenance.stale, "a day has closed that is not here"
        else:
            assert found.candles[-1].date == machine.last_closed.isoformat()


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
async def test_a_document_is_not_younger_after_a_step(machine: Machine, tmp_path: Path, step: float) -> None:
    mock = DatedUpstream(machine.truth)
    request = pb.GetDocumentRequest(path="coins/bitcoin")
    async with service(machine, mock, tmp_path) as stub:
        await stub.GetDocument(request, timeout=10)
        machine.step(step)
        mock.away = True
        machine.advance(400)
        reply = await stub.GetDocument(request, timeout=10)
    assert orjson.loads(reply.json)["id"] == "bitcoin"
    assert (reply.provenance.age_seconds, reply.provenance.stale) == (pytest.approx(400, abs=1), True)
    assert reply.fresh_for_seconds == 0


async def test_a_reply_from_a_cache_is_as_old_as_the_cache_says(machine: Machine, tmp_path: Path) -> None:
    mock = DatedUpstream(machine.truth)
    async with service(machine, mock, tmp_path) as stub:
        mock.age = 40
        where = (await stub.GetPrices(pb.GetPricesRequest(ids=["bitcoin"]), timeout=10)).prices[0].provenance
        assert where.age_seconds == pytest.approx(45, abs=2)
        reply = await stub.GetDocument(pb.GetDocumentRequest(path="coins/bitcoin"), timeout=10)
        assert reply.provenance.age_seconds == pytest.approx(40, abs=2)
        machine.advance(31)
        mock.age = 0
        fresh = await stub.GetPrices(pb.GetPricesRequest(ids=["bitcoin"], max_age_seconds=10), timeout=10)
        assert fresh.prices[0].provenance.age_seconds == pytest.approx(5, abs=2), "the clock is not behind"


async def test_the_quota_is_neither_freed_nor_held_by_a_step(machine: Machine, tmp_path: Path) -> None:
    mock = DatedUpstream(machine.truth)
    async with service(machine, mock, tmp_path) as stub:
        before = (await stub.GetStatus(pb.GetStatusRequest(), timeout=10)).quota
        await stub.GetPrices(pb.GetPricesRequest(ids=["bitcoin"]), timeout=10)
        for step in STEPS.values():
            machine.step(step)
            after = (await stub.GetStatus(pb.GetStatusRequest(), timeout=10)).quota
            assert after.per_minute_left == before.per_minute_left - 1
        machine.advance(62)
        after = (await stub.GetStatus(pb.GetStatusRequest(), timeout=10)).quota
        assert after.per_minute_left == after.per_minute_limit
