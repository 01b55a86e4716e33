"""The first minutes on CoinGecko, plan by plan: the real stack from an empty folder, the sandbox hidden."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from coincast_stack.options import RehearsedPlan
from coincast_stack.rehearsal.record import RehearsalRecord
from coincast_stack.rehearsal.rehearse import rehearse
from tests.e2e.test_e2e_commands import allowance
from tests.integration.training_rig import QUICK_RECIPES

pytestmark = pytest.mark.timeout(480)
# Calls until then do not depend on how busy the machine is: lists and prices; then histories of a few coins.
MOST_CALLS_FOR_PRICES = 10
MOST_CALLS_FOR_A_FORECAST = 10


def rehearsed(plan: RehearsedPlan, folder: Path) -> tuple[RehearsalRecord, float]:
    """Rehearse a plan; return the record, and how much longer it may take on this machine."""
    factor = allowance()
    lines: list[str] = []
    record = asyncio.run(rehearse(plan, folder, lambda at, text: lines.append(f"{at:7.1f} s  {text}")))
    print("\n".join(lines))
    print(f"{plan}: {record.busiest_minute} calls in the busiest minute (limit {record.per_minute})")
    print(f"limits in seconds stretched by {factor:.2f}, for the processors that others use")
    return record, factor


@pytest.fixture(autouse=True)
def quick_recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train the ensemble quickly: its calls for candles count here, hundreds of trees do not."""
    monkeypatch.setenv("TRAINING_CONFIG_DIR", str(QUICK_RECIPES))


def test_keyless(tmp_path: Path) -> None:
    record, factor = rehearsed(RehearsedPlan.KEYLESS, tmp_path)
    assert record.failures(factor) == []
    assert record.prices is not None
    assert record.prices.calls <= MOST_CALLS_FOR_PRICES
    assert next(iter(record.forecasts.values())).calls <= MOST_CALLS_FOR_A_FORECAST


@pytest.mark.long
@pytest.mark.parametrize("plan", [RehearsedPlan.DEMO, RehearsedPlan.BASIC, RehearsedPlan.ANALYST])
def test_plans_with_a_key(plan: RehearsedPlan, tmp_path: Path) -> None:
    record, factor = rehearsed(plan, tmp_path)
    assert record.failures(factor) == []
