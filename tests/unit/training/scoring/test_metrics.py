"""The gauges of the live record: all versions of a model, and only what is enough to tell."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import REGISTRY

from coincast_chassis.clock import ManualClock
from coincast_modelkit.artifact import HorizonRecord
from coincast_training.scoring.accuracy import Live
from coincast_training.scoring.metrics import coverage_error
from coincast_training.scoring.service import LedgerService
from tests.unit.training.training_fakes import FakeHistory, panel_of
from tests.unit.training.training_ledger_rows import forecast_of, incoming, ledger_in

COINS = ("bitcoin", "ethereum", "ripple", "solana", "cardano")
PANEL = panel_of(COINS, 120, first="2025-01-01")
LAST = 119
NOW = dt.datetime(2025, 5, 1, 12, tzinfo=dt.UTC).timestamp()


def shown(model: str, name: str = "coverage_percent", horizon: int = 1, level: str = "80") -> float | None:
    labels = {"model": model, "horizon_days": str(horizon)}
    if name.startswith("coverage"):
        labels["level_percent"] = level
    return REGISTRY.get_sample_value(f"coincast_training_live_{name}", labels)


def served(model: str, days: int, *, coins: tuple[str, ...] = COINS, **changes) -> list[dict]:
    """Forecasts of the last closed days, as one model made them."""
    changes = {"model": model, "served_by": model} | changes
    return [forecast_of(PANEL[coin], LAST - 1 - back, **changes) for coin in coins for back in range(days)]


async def scored(folder: Path, rows: list[dict]) -> tuple[LedgerService, FakeHistory]:
    """A ledger that has scored and published them, and its source of candles."""
    for number, row in enumerate(rows):
        row["forecast_id"] = str(number)
    incoming(folder, rows)
    history = FakeHistory(PANEL)
    ledger = ledger_in(folder, history, ManualClock(NOW))
    assert await ledger.cycle() == len(rows)
    return ledger, history


async def test_the_versions_of_a_model_are_one_record(tmp_path: Path):
    """One forecast of a later version that missed moves the share by one forecast, and no more."""
    wide = served("pooled", 20, width=50.0)
    missed = served("pooled", 1, coins=COINS[:1], width=1e-6, version="v000002")
    elsewhere = served("pooled", 20, width=1e-6, version="v000003", variant="shadow")
    ledger, _ = await scored(tmp_path, wide + missed + elsewhere)
    assert shown("pooled") == pytest.approx(100 * 100 / 101)
    assert shown("pooled", level="95") == pytest.approx(100 * 100 / 101)
    scores = ledger.store.scored_since(dt.date(2025, 1, 1)).to_pylist()
    reported = [
        row for row in scores if row["variant"] == "production" and row["random_walk_crps"] is not None
    ]
    assert len(reported) == 101
    share = sum(row["crps"] for row in reported) / sum(row["random_walk_crps"] for row in reported)
    assert shown("pooled", "skill_percent") == pytest.approx(100 * (1 - share))


@pytest.mark.parametrize(
    ("name", "days", "coins", "reported"),
    [("enough", 20, 5, True), ("few-days", 19, 5, False), ("few-coins", 24, 4, False)],
)
async def test_too_few_forecasts_or_days_are_not_reported(tmp_path: Path, name, days, coins, reported):
    doubled = served(name, days, coins=COINS[:coins])
    if name == "few-days":  # forecasts enough, of too few days
        doubled += served(name, days, coins=COINS[:coins], version="v000002")
    await scored(tmp_path, doubled)
    for figure in ("coverage_percent", "coverage_error_percent", "skill_percent"):
        assert (shown(name, figure) is not None) == reported


async def test_what_no_longer_has_enough_goes(tmp_path: Path):
    ledger, history = await scored(tmp_path, served("gone", 20))
    assert shown("gone") is not None
    history.panel = panel_of(COINS, 200, first="2025-01-01")  # eighty days on
    await ledger.cycle()
    for figure in ("coverage_percent", "coverage_error_percent", "skill_percent"):
        assert shown("gone", figure) is None
    assert json.loads((tmp_path / "live-record.json").read_text())["records"] == []


async def test_the_error_counts_days_and_not_coins(tmp_path: Path):
    await scored(tmp_path, served("erring", 20))
    assert shown("erring", "coverage_error_percent") == pytest.approx(40 / np.sqrt(20))
    assert shown("erring", "coverage_error_percent", level="95") == pytest.approx(
        21.79 / np.sqrt(20), rel=1e-3
    )


@pytest.mark.parametrize("level", [80, 95])
@pytest.mark.parametrize("horizon", [1, 7])
def test_the_error_is_not_below_what_chance_does_to_coins_that_move_together(level: int, horizon: int):
    """Ten coins, four fifths of whose variance is the market's, with intervals of correct coverage."""
    days, coins, trials = 30, 10, 3000
    rng = np.random.default_rng(3)
    steps = (days + horizon - 1, trials)
    market, own = rng.normal(size=steps), rng.normal(size=(coins, *steps))
    came = _moves(np.sqrt(0.8) * market + np.sqrt(0.2) * own, horizon)
    bound = {80: 1.2816, 95: 1.96}[level]
    coverage = 100 * (np.abs(came) <= bound).mean(axis=(0, 1))
    record = HorizonRecord(horizon, forecasts=days * coins)
    assert coverage.mean() == pytest.approx(level, abs=1)
    assert coverage.std() <= coverage_error(level, Live("m", "", "production", "", days, record))


def _moves(steps: np.ndarray, horizon: int) -> np.ndarray:
    """Standardised returns over `horizon` days, one from every day on."""
    sums = np.cumsum(np.concatenate([np.zeros_like(steps[:, :1]), steps], axis=1), axis=1)
    return (sums[:, horizon:] - sums[:, :-horizon]) / np.sqrt(horizon)
