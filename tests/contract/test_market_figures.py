"""What stands beside a price and cannot be true is left out and counted, on every path."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from prometheus_client import REGISTRY

from coincast.market.v1 import market_pb2 as pb
from tests.contract.market_mock import MockUpstream, market_over

GOOD = {"market_cap": 5.0, "total_volume": 6.0, "high_24h": 110.0, "low_24h": 90.0, "ath": 120.0}
BAD = {"market_cap": "@", "total_volume": -1.0, "high_24h": "@", "low_24h": 0.0, "ath": "x"}


def counted() -> dict[str, float]:
    reasons = (
        "figure_not_finite", "figure_negative", "figure_not_a_number", "not_finite", "not_positive",
        "not_a_number",
    )  # fmt: skip
    name = "coincast_market_quarantined_total"
    return {reason: REGISTRY.get_sample_value(name, {"reason": reason}) or 0.0 for reason in reasons}


def more(before: dict[str, float]) -> dict[str, float]:
    return {reason: value - before[reason] for reason, value in counted().items() if value > before[reason]}


@pytest.fixture
def mock() -> MockUpstream:
    return MockUpstream()


def rows(**figures: Any) -> list[dict[str, Any]]:
    return [{"id": "bitcoin", "current_price": 100.0, **figures}]


async def ask(stub: Any, path: str, **query: str) -> Any:
    return orjson.loads(
        (await stub.GetDocument(pb.GetDocumentRequest(path=path, query=query), timeout=10)).json
    )


async def test_figures_of_market_rows(mock: MockUpstream, tmp_path: Path) -> None:
    mock.extra["coins/markets"] = rows(**BAD, price_change_percentage_24h="@")
    async with market_over(mock, tmp_path) as stub:
        before = counted()
        (row,) = (await stub.GetMarkets(pb.GetMarketsRequest(ids=["bitcoin"]), timeout=10)).markets
        assert row.price == 100.0
        figures = ("market_cap", "volume_24h", "high_24h", "low_24h", "all_time_high", "change_24h_percent")
        assert not any(row.HasField(name) for name in figures)
        expected = {
            "figure_not_finite": 2.0, "figure_negative": 1.0, "not_finite": 1.0, "not_positive": 1.0,
            "not_a_number": 1.0,
        }  # fmt: skip
        assert more(before) == expected
        status = await stub.GetStatus(pb.GetStatusRequest(quality_ids=["bitcoin"]), timeout=10)
        assert status.quality[0].quarantined_points == sum(expected.values())


async def test_figures_of_mirrored_market_rows(mock: MockUpstream, tmp_path: Path) -> None:
    mock.extra["coins/markets"] = rows(**BAD, sparkline_in_7d={"price": [1.0, "@"]}, atl_change="@")
    async with market_over(mock, tmp_path) as stub:
        before = counted()
        (row,) = await ask(stub, "coins/markets", vs_currency="usd")
    assert row == {
        "id": "bitcoin", "current_price": 100.0, **dict.fromkeys(BAD), "low_24h": 0.0,
        "sparkline_in_7d": {"price": [1.0, None]}, "atl_change": None,
    }  # fmt: skip
    assert more(before) == {
        "figure_not_finite": 3.0, "figure_negative": 1.0, "not_finite": 1.0,
        "not_a_number": 1.0,
    }  # fmt: skip


async def test_good_figures_pass_uncounted(mock: MockUpstream, tmp_path: Path) -> None:
    mock.extra["coins/markets"] = rows(**GOOD, max_supply=None, price_change_percentage_24h=-3.0)
    async with market_over(mock, tmp_path) as stub:
        before = counted()
        (row,) = (await stub.GetMarkets(pb.GetMarketsRequest(ids=["bitcoin"]), timeout=10)).markets
        assert await ask(stub, "coins/markets", vs_currency="usd") == mock.extra["coins/markets"]
        assert more(before) == {}
    assert (row.market_cap, row.volume_24h, row.high_24h, row.low_24h) == (5.0, 6.0, 110.0, 90.0)


async def test_figures_beside_quotes_and_named_prices(mock: MockUpstream, tmp_path: Path) -> None:
    figures = {"usd": 100.0, "usd_market_cap": "@", "usd_24h_vol": -1.0, "usd_24h_change": -2.5}
    mock.extra["simple/price"] = {"bitcoin": figures}
    async with market_over(mock, tmp_path) as stub:
        before = counted()
        (price,) = (await stub.GetPrices(pb.GetPricesRequest(ids=["bitcoin"]), timeout=10)).prices
        assert not price.HasField("market_cap")
        assert not price.HasField("volume_24h")
        assert price.change_24h_percent == -2.5
        assert more(before) == {"figure_not_finite": 1.0, "figure_negative": 1.0}
        before = counted()
        named = await ask(stub, "simple/price", names="Bitcoin", vs_currencies="usd")
        assert named == {"bitcoin": {"usd": 100.0, "usd_24h_change": -2.5}}
        assert more(before) == {"figure_not_finite": 1.0, "figure_negative": 1.0}


async def test_figures_of_a_coins_document(mock: MockUpstream, tmp_path: Path) -> None:
    market = {"current_price": {"usd": 100.0}, "market_cap": {"usd": "@", "eur": 3.0}, "supply": "@"}
    mock.extra["coins/bitcoin"] = {"id": "bitcoin", "market_data": market}
    async with market_over(mock, tmp_path) as stub:
        before = counted()
        found = (await ask(stub, "coins/bitcoin"))["market_data"]
    assert found == {"current_price": {"usd": 100.0}, "market_cap": {"usd": None, "eur": 3.0}, "supply": None}
    assert more(before) == {"figure_not_finite": 2.0}


async def test_volumes_and_caps_of_series(mock: MockUpstream, tmp_path: Path) -> None:
    start = (int(time.time()) // 86_400 - 4) * 86_400
    times = range(start, int(time.time()), 3600)
    prices = [[moment * 1000, 100.0] for moment in times]
    caps = [[moment * 1000, "@" if n == 3 else 5.0] for n, moment in enumerate(times)]
    volumes = [[moment * 1000, -1.0 if n == 4 else None if n == 5 else 6.0] for n, moment in enumerate(times)]
    series = {"prices": prices, "market_caps": caps, "total_volumes": volumes}
    mock.extra["coins/bitcoin/market_chart"] = series
    async with market_over(mock, tmp_path) as stub:
        before = counted()
        await stub.GetHistory(pb.GetHistoryRequest(id="bitcoin", days=3), timeout=10)
        assert more(before) == {"figure_not_finite": 1.0, "figure_negative": 1.0}
        before = counted()
        chart = await ask(stub, "coins/bitcoin/market_chart", vs_currency="usd", days="4")
        assert more(before) == {"figure_not_finite": 1.0, "figure_negative": 1.0}
    assert chart["market_caps"][3] == [caps[3][0], None]
    assert chart["total_volumes"][4] == [volumes[4][0], None]
    assert chart["prices"] == prices
