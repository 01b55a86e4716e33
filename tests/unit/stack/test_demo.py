"""`make demo`: one forecast by the requested model, or the reason why there is none."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console

from coincast_stack import demo as module
from coincast_stack.demo import demo
from coincast_stack.errors import ChildDeathError, StackError
from coincast_stack.options import StackOptions
from tests.unit.stack.fake_system import FakeSystem, fake_system

TARGET = "/forecasts?ids=bitcoin&days=3&model=lightgbm"
DETAIL = b'{"detail": "no history yet"}'


def forecast(served_by: str = "lightgbm", reason: str = "") -> bytes:
    point = {"date": "2026-07-26", "price": 64_000.0, "intervals": {"80": {"lower": 1.0, "upper": 2.0}}}
    document: dict[str, Any] = {
        "id": "bitcoin", "vs_currency": "usd", "served_by": served_by, "version": "v000001",
        "reason": reason, "source": "sandbox", "last_price": 64_250.5, "as_of": "2026-07-25T00:00:00Z",
        "points": [point],
    }  # fmt: skip
    return json.dumps({"forecasts": [document], "errors": []}).encode()


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[FakeSystem]:
    async with fake_system(tmp_path / "state") as running:
        running.serve_models("lightgbm")
        yield running


async def run_demo(system: FakeSystem, folder: Path, model: str = "lightgbm") -> tuple[bytes, str]:
    out = io.StringIO()
    options = StackOptions(folder, train=("lightgbm",))
    console = Console(file=out, width=160)
    return await demo(options, "bitcoin", 3, model, console, launch=system.launch), out.getvalue()


async def test_the_forecast_is_printed_and_everything_is_stopped(system: FakeSystem, tmp_path: Path) -> None:
    system.gateway.by_path[TARGET] = (200, forecast())
    manifest = system.layout.state_dir / "artifacts" / "lightgbm" / "v000001" / "manifest.json"
    manifest.parent.mkdir()
    manifest.touch()
    reply, printed = await run_demo(system, tmp_path)
    assert reply == forecast()
    assert "NOT REAL MARKET DATA" in printed
    assert "artifact: artifacts/lightgbm/v000001\n" in printed
    assert "64,000.00" in printed
    stages = [line.partition(" s  ")[2] for line in printed.splitlines() if " s  " in line]
    assert stages[-2:] == ["requesting the forecast", "stopping"]
    assert not [each for each in psutil.Process().children() if "sleep" in each.name()]


async def test_the_source_is_named(system: FakeSystem, tmp_path: Path) -> None:
    system.use_coingecko()
    system.gateway.by_path["/forecasts"] = (200, forecast())
    _, printed = await run_demo(system, tmp_path)
    assert "Market data: CoinGecko\n" in printed


@pytest.mark.parametrize("model", ["technical", "auto"])
async def test_any_model_may_answer_where_none_is_needed(
    system: FakeSystem, tmp_path: Path, model: str
) -> None:
    system.gateway.by_path["/forecasts"] = (200, forecast("technical"))
    reply, _ = await run_demo(system, tmp_path, model)
    assert reply == forecast("technical")


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ((503, DETAIL), r"the gateway answered 503: \{'detail': 'no history yet'\}"),
        ((200, b"[]"), r"the gateway answered 200: \[\]"),
        ((200, b'{"forecasts": [], "errors": ["late"]}'), r"the reply has no forecast: \['late'\]"),
        ((200, forecast("technical", "no version")), "served by technical: no version"),
    ],
)
async def test_without_a_forecast_in_time_the_reason_is_named(
    system: FakeSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reply: tuple[int, bytes], why: str
) -> None:
    monkeypatch.setattr(module, "FORECAST_SECONDS", -1.0)
    system.gateway.by_path["/forecasts"] = reply
    with pytest.raises(StackError, match=f"no forecast of bitcoin by lightgbm: {why}"):
        await run_demo(system, tmp_path)


async def test_a_forecast_is_requested_until_the_model_answers(
    system: FakeSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL_SECONDS", 0.0)
    system.gateway.first[TARGET] = [(503, DETAIL), (200, forecast("technical")), (200, forecast())]
    assert (await run_demo(system, tmp_path))[0] == forecast()
    assert system.gateway.requested.count(TARGET) == 3


async def test_a_process_that_ends_ends_the_demo(
    system: FakeSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL_SECONDS", 0.0)
    system.run_instead("forecast", ["sh", "-c", "echo no memory; exit 4"])
    system.gateway.by_path["/forecasts"] = (503, DETAIL)
    with pytest.raises(ChildDeathError, match="no memory"):
        await run_demo(system, tmp_path)
