"""The operator's commands against a running service."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from coincast.market.v1 import market_pb2 as pb
from coincast_market_data.history.gap_filler import HOURLY_DAYS
from tests.contract.market_mock import MockUpstream, market_over, noon_clock


async def command(*words: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "coincast_market_data", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return process.returncode, output.decode(), errors.decode()


@pytest.fixture
def mock() -> MockUpstream:
    return MockUpstream(noon_clock())


async def test_backfill_prints_its_progress_and_resumes(mock: MockUpstream, tmp_path: Path) -> None:
    async with market_over(mock, tmp_path) as stub:
        words = ("backfill", "bitcoin", "not/an/id", "ethereum", "--days", "30", "--target", stub.address)
        code, output, errors = await command(*words)
        assert output.splitlines() == [
            "[1/3] not/an/id: not a coin id",
            f"[2/3] bitcoin: {HOURLY_DAYS} candles new or richer",
            f"[3/3] ethereum: {HOURLY_DAYS} candles new or richer",
            f"{2 * HOURLY_DAYS} candles new or richer; 1 coins failed",
        ], errors
        assert code == 1
        calls = mock.calls.total()
        code, output, _ = await command("backfill", "bitcoin", "--days", "30", "--target", stub.address)
        assert (code, output.splitlines()[-1]) == (0, "0 candles new or richer; 0 coins failed")
        assert mock.calls.total() == calls
        status = await stub.GetStatus(pb.GetStatusRequest(), timeout=10)
        assert (status.archive.coins, status.archive.candles) == (2, 2 * HOURLY_DAYS)


async def test_quality_prints_what_was_put_aside(mock: MockUpstream, tmp_path: Path) -> None:
    mock.extra["simple/price"] = {"bitcoin": {"usd": -1.0}}
    async with market_over(mock, tmp_path) as stub:
        await stub.GetHistory(pb.GetHistoryRequest(id="bitcoin", days=5), timeout=10)
        await stub.GetDocument(
            pb.GetDocumentRequest(path="simple/price", query={"names": "x", "vs_currencies": "usd"}),
            timeout=10,
        )
        code, output, errors = await command("quality", "bitcoin", "--target", stub.address)
        status = await stub.GetStatus(pb.GetStatusRequest(quality_ids=["bitcoin"]), timeout=10)
    assert code == 0, errors
    assert status.quality[0].last_good_date in output
    assert "a price: not_positive" in output


async def test_a_service_that_is_not_there_is_said_in_one_line() -> None:
    code, _, errors = await command("quality", "bitcoin", "--target", "127.0.0.1:9")
    assert code == 2
    assert errors.startswith("quality: 127.0.0.1:9: ")
    assert errors.count("\n") == 1
