"""Recording never fails a reply: errors and slow disks cost the forecast its id, nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from coincast_forecast.inference.thread import ThreadStuckError
from coincast_modelkit.ledger import LedgerEntry
from tests.unit.forecast.forecast_kit import make_kit


@pytest.mark.parametrize(
    "error",
    [ValueError("a bad entry"), OSError("no space"), ThreadStuckError("hangs"), RuntimeError("other")],
)
async def test_an_error_loses_only_the_id(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    kit = make_kit()

    async def fail(entries: Sequence[LedgerEntry]) -> bool:
        raise error

    monkeypatch.setattr(kit.ledger, "append", fail)
    forecast = (await kit.one(model="lightgbm")).forecast
    assert (forecast.served_by, forecast.forecast_id, forecast.degraded) == ("lightgbm", "", False)
    monkeypatch.undo()
    assert (await kit.one(model="lightgbm")).forecast.forecast_id


@pytest.mark.slow
async def test_a_log_that_hangs_delays_a_reply_by_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    kit = make_kit()
    released = asyncio.Event()

    async def hang(entries: Sequence[LedgerEntry]) -> bool:
        await released.wait()
        return True

    monkeypatch.setattr(kit.ledger, "append", hang)
    began = time.monotonic()
    assert (await kit.one(model="lightgbm")).forecast.forecast_id == ""
    assert time.monotonic() - began < 30, "without a limit it would never end"
    released.set()
    await asyncio.sleep(0)
    assert (await kit.one(model="lightgbm")).forecast.forecast_id
