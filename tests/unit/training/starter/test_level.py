"""A starter's widths are corrected on days that it has not learnt from, as a version of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from coincast_chassis.clock import ManualClock
from coincast_modelkit.artifact import SCENARIOS, check_golden, read_artifact
from coincast_modelkit.candles import Candles
from coincast_modelkit.forecasts import expected_sizes
from coincast_modelkit.models.level import PRIOR_OUTCOMES, LevelAdjustable
from coincast_training.pipeline.dataset import TrainingData
from coincast_training.pipeline.folds import forecast_days
from coincast_training.registry.registry import Registry
from coincast_training.starter.comparison import rerun_starter
from coincast_training.starter.install import STARTER_MODELS, install_starters, is_starter
from coincast_training.starter.level import MIN_COINS, MIN_DAYS, correct_starter, measured_level
from coincast_training.trainers.base import WalkForward
from tests.unit.training.training_fakes import panel_of, walk_forward_of

NOW = 1_800_000_000.0
LEARNT_TO = np.datetime64("2025-08-31", "D")
COINS = ("bitcoin", "ethereum", "solana")


def history(first: str, days: int = 250) -> TrainingData:
    panel = panel_of(COINS, days, sigma=0.02, first=first)
    return TrainingData(panel, {c: panel[c] for c in ("bitcoin", "ethereum")}, "archive")


def log_ratios(found: WalkForward) -> dict[int, float]:
    """By horizon, the log of how much larger outcomes were than forecast."""
    sizes, outcomes = expected_sizes(found.log_return_quantiles), np.abs(found.actual_log_returns)
    return {
        int(h): float(np.log(outcomes[found.horizons == h].sum() / sizes[found.horizons == h].sum()))
        for h in np.unique(found.horizons)
    }


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    registry = Registry(tmp_path / "artifacts", clock=ManualClock(NOW))
    install_starters(registry)
    return registry


def served(registry: Registry, model: str) -> LevelAdjustable:
    return cast(
        "LevelAdjustable", read_artifact(registry.root, model, registry.table(model).production).model
    )


@pytest.mark.slow
@pytest.mark.parametrize("model", STARTER_MODELS)
def test_the_corrected_starter_serves_and_its_widths_have_the_level_of_the_days_since(
    registry: Registry, model: str
) -> None:
    data = history("2025-10-01")
    version = correct_starter(registry, model, data, created_at=NOW)
    manifest, _ = registry.versions.manifest(model, version)
    assert registry.table(model).production == version == "v000002"
    assert manifest.parent == "v000001"
    assert is_starter(manifest)
    assert manifest.metrics["level"]["days_after"] == manifest.data.to_date < "2025-10-01"
    assert "widths corrected: 1 day" in list(registry.audit.entries(model))[-1].reason
    days = data.panel["bitcoin"].dates
    corrected, closes = served(registry, model), with_ranges(data, 0.0, 0)
    before, after = (
        log_ratios(forecast_days(m, closes, days[90], days[-1], corrected.level_anchors))
        for m in (
            corrected.with_level({}),
            corrected.with_level(measured_level(corrected, closes, LEARNT_TO)),
        )
    )
    assert abs(before[1]) > 0.1
    for horizon in before:
        independent = (len(days) - 90 - horizon) / horizon
        left = before[horizon] * PRIOR_OUTCOMES / (independent + PRIOR_OUTCOMES)
        assert after[horizon] == pytest.approx(left, abs=0.03), horizon


def widened(candles: Candles, factor: float, days: int) -> Candles:
    """The candles with other ranges: those of the last days alone, or none, and wider ones."""
    shown = np.where(np.arange(len(candles)) >= len(candles) - days, 1.0, np.nan)
    return replace(
        candles,
        open=candles.open * shown,
        high=candles.high * np.exp(factor) * shown,
        low=candles.low * np.exp(-factor) * shown,
    )


def with_ranges(data: TrainingData, factor: float, days: int) -> TrainingData:
    panel = {coin: widened(candles, factor, days) for coin, candles in data.panel.items()}
    return replace(data, panel=panel, reference={c: panel[c] for c in data.reference})


def log_width(model: LevelAdjustable, data: TrainingData) -> float:
    """The mean log width of the forecasts of one day ahead over the last days."""
    dates = data.panel["bitcoin"].dates
    found = forecast_days(model, data, dates[-41], dates[-2], (1,))
    return float(np.log(expected_sizes(found.log_return_quantiles)).mean())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "factor", "days"),
    [
        ("lightgbm", 0.0, 90),
        ("lightgbm", 0.005, 90),
        ("ml_ensemble", 0.0, 90),
    ],
    ids=["ranges of 90 days", "wide ranges of 90 days", "the ensemble"],
)
def test_the_level_is_that_of_what_is_served_whatever_ranges_are_known(
    registry: Registry, model: str, factor: float, days: int
) -> None:
    """Closes of the whole year tell the level; widths that ranges change come to the same size."""
    data = history("2025-10-01")
    closes, ranges = with_ranges(data, 0.0, 0), with_ranges(data, factor, days)
    starter = served(registry, model)
    by_closes = starter.with_level(measured_level(starter, closes, LEARNT_TO))
    by_ranges = starter.with_level(measured_level(starter, ranges, LEARNT_TO))
    assert abs(log_width(starter, ranges) - log_width(starter, closes)) > 0.05
    assert log_width(by_ranges, ranges) == pytest.approx(log_width(by_closes, closes), abs=0.02)


@pytest.mark.slow
def test_the_new_version_is_whole(registry: Registry) -> None:
    version = correct_starter(registry, "lightgbm", history("2025-10-01"), created_at=NOW)
    artifact = read_artifact(registry.root, "lightgbm", version)
    assert check_golden(artifact.model, artifact.golden) < 1e-6
    assert artifact.scenarios == read_artifact(registry.root, "lightgbm", "v000001").scenarios != b""
    assert SCENARIOS in artifact.manifest.files


@pytest.mark.slow
def test_the_same_days_again_make_no_further_version_and_others_do(registry: Registry) -> None:
    data = history("2025-10-01")
    assert correct_starter(registry, "lightgbm", data, created_at=NOW) == "v000002"
    assert correct_starter(registry, "lightgbm", data, created_at=NOW) == ""
    wilder = panel_of(COINS, 250, seed=5, sigma=0.05, first="2025-10-01")
    other = replace(data, panel=wilder, reference={"bitcoin": wilder["bitcoin"]})
    assert correct_starter(registry, "lightgbm", other, created_at=NOW) == "v000003"
    assert registry.versions.manifest("lightgbm", "v000003")[0].parent == "v000002"


@pytest.mark.parametrize(
    ("first", "days", "coins"),
    [
        ("2022-01-01", 250, COINS),
        ("2025-10-01", 90 + MIN_DAYS - 1, COINS),
        ("2025-10-01", 250, COINS[: MIN_COINS - 1]),
    ],
    ids=["days that it has learnt from", "too few days", "too few coins"],
)
def test_nothing_is_corrected_on(registry: Registry, first: str, days: int, coins: tuple[str, ...]) -> None:
    data = history(first, days)
    data = replace(data, panel={coin: data.panel[coin] for coin in coins})
    assert correct_starter(registry, "lightgbm", data, created_at=NOW) == ""
    assert registry.table("lightgbm").production == "v000001"


@pytest.mark.slow
def test_days_that_it_has_learnt_from_do_not_count_beside_later_ones(registry: Registry) -> None:
    model = served(registry, "lightgbm").with_level({})
    data = history("2025-01-01", 450)
    cut = np.datetime64("2025-08-31", "D")
    found = measured_level(model, data, cut)
    later = {coin: c.rows(int(np.searchsorted(c.dates, cut)) - 100, len(c)) for coin, c in data.panel.items()}
    assert measured_level(model, replace(data, panel=later), cut) == pytest.approx(found, abs=0.05)
    assert found != measured_level(model, data, cut - np.timedelta64(100, "D"))


def test_a_version_that_is_no_starter_is_left_alone(registry: Registry) -> None:
    assert correct_starter(registry, "lstm", history("2025-10-01"), created_at=NOW) == ""


@pytest.mark.slow
def test_the_gate_says_on_which_days_the_level_was_measured(registry: Registry) -> None:
    data = history("2025-10-01")
    correct_starter(registry, "lightgbm", data, created_at=NOW)
    rerun = rerun_starter(registry, "lightgbm", data, walk_forward_of(data.panel))
    assert rerun is not None
    assert rerun.version == "v000002"
    assert f"its widths were corrected on days up to {data.panel['bitcoin'].dates[-1]}" in rerun.note
