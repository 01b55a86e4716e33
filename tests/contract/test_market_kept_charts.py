"""Closed days of mirrored charts are kept where they are as good as what the service itself would fetch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from coincast.market.v1 import market_pb2 as pb
from coincast_chassis.errors import Unavailable
from coincast_market_data.coingecko.api_plans import PlanName
from tests.contract.market_mock import MockUpstream, market_over, noon_clock


@pytest.fixture
def mock() -> MockUpstream:
    return MockUpstream(noon_clock())


async def chart(stub: Any, days: int, **query: str) -> None:
    query = {"vs_currency": "usd", "days": str(days), **query}
    await stub.GetDocument(pb.GetDocumentRequest(path="coins/bitcoin/market_chart", query=query), timeout=10)


async def kept(stub: Any) -> int:
    return (await stub.GetStatus(pb.GetStatusRequest(), timeout=10)).archive.candles


async def test_hourly_points_are_kept_as_whole_days(mock: MockUpstream, tmp_path: Path) -> None:
    async with market_over(mock, tmp_path) as stub:
        await chart(stub, 30)
        assert await kept(stub) == 29, "neither the day of the first point nor the open one"
        calls = mock.calls.total()
        found = await stub.GetHistory(pb.GetHistoryRequest(id="bitcoin", days=29), timeout=10)
        assert mock.calls.total() == calls
    assert all(candle.HasField("high") and candle.volume == 100.0 for candle in found.history.candles)


async def test_closes_alone_are_kept_only_where_no_more_is_to_be_had(
    mock: MockUpstream, tmp_path: Path
) -> None:
    async with market_over(mock, tmp_path / "pro") as stub:
        await chart(stub, 200)
        assert await kept(stub) == 0, "this plan gives whole days"
    async with market_over(mock, tmp_path / "demo", plan=PlanName.DEMO) as stub:
        await chart(stub, 200)
        assert await kept(stub) == 200 - 88 - 1
        found = await stub.GetHistory(pb.GetHistoryRequest(id="bitcoin", days=60), timeout=10)
    assert all(candle.HasField("high") for candle in found.history.candles)


async def test_rounded_prices_are_not_kept(mock: MockUpstream, tmp_path: Path) -> None:
    async with market_over(mock, tmp_path) as stub:
        await chart(stub, 30, precision="2")
        assert await kept(stub) == 0
        await chart(stub, 30, precision="full")
        assert await kept(stub) == 29


async def test_a_chart_that_is_off_is_not_kept(mock: MockUpstream, tmp_path: Path) -> None:
    async with market_over(mock, tmp_path) as stub:
        await chart(stub, 10)
        mock.price = 5000.0
        with pytest.raises(Unavailable, match="far off"):
            await chart(stub, 30)
        assert await kept(stub) == 9
