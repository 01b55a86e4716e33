"""Drift of the hourly model: live coverage by the hour, features of hours, and trainings that can succeed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from coincast_chassis.clock import ManualClock
from coincast_modelkit.artifact import HorizonRecord
from coincast_modelkit.hourly.candles import HourlyCandles, HourlyPanel
from coincast_training.drift.assessment import DriftThresholds, FeatureDrift, assess_drift
from coincast_training.drift.feature_drift import hourly_feature_drift
from coincast_training.drift.monitor import DriftMonitor, DriftPolicy
from coincast_training.jobs.service import JobService
from coincast_training.jobs.stores.in_memory import InMemoryJobStore
from coincast_training.registry.registry import Registry
from tests.unit.modelkit.hourly.hourly_market import invented
from tests.unit.training.hourly.test_trainer import PANEL, pipeline, run
from tests.unit.training.jobs.test_service import FakeRunner
from tests.unit.training.training_fakes import FakeHistory

LEARNT_DAYS = 330
COINS = ("bitcoin", "ethereum")
LONG = {coin: invented(coin, LEARNT_DAYS + 40, seed=seed) for seed, coin in enumerate(COINS)}
LEARNT_TO = np.datetime64("2021-01-04") + np.timedelta64(LEARNT_DAYS, "D")


def drift_of(panel: HourlyPanel, learnt_to: np.datetime64 = LEARNT_TO) -> FeatureDrift | None:
    """Return the drift of the last thirty days of hours."""
    return hourly_feature_drift(panel, learnt_to=learnt_to, days=30, psi=0.25, ks=0.25)


def with_storm(candles: HourlyCandles) -> HourlyCandles:
    """Return the same hours with moves four times as large in the last forty days."""
    path = np.log(np.stack([candles.open, candles.high, candles.low, candles.close]))
    start = len(candles) - 40 * 24
    path[:, start:] = path[3, start - 1] + 4 * (path[:, start:] - path[3, start - 1])
    opened, high, low, close = np.exp(path)
    return HourlyCandles(candles.coin_id, candles.first, opened, high, low, close, candles.volume)


@pytest.mark.parametrize("stormy", [False, True])
def test_features_of_a_storm_differ_from_those_of_quiet_hours(stormy: bool) -> None:
    panel = {coin: with_storm(hours) for coin, hours in LONG.items()} if stormy else LONG
    found = drift_of(panel)
    assert found is not None
    judged = assess_drift(live=[], features=found, age_days=None, bounds=DriftThresholds())
    assert judged.drifted is stormy


def test_hours_that_were_learnt_already_are_no_drift() -> None:
    assert drift_of(LONG, learnt_to=np.datetime64("2030-01-01")) is None


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with a version of the hourly model in production."""
    folder = tmp_path_factory.mktemp("artifacts")
    asyncio.run(run(pipeline(folder)))
    return folder


@pytest.mark.parametrize(
    ("coverage", "panel", "action"),
    [
        (80.0, PANEL, "nothing to do"),
        (50.0, PANEL, "submitted job"),
        (50.0, {c: h.tail(90 * 24) for c, h in PANEL.items()}, "the source has 90 days of hours"),
        (50.0, {}, "the source has 0 days of hours"),
    ],
)
async def test_drift_of_the_hourly_model_asks_for_a_training_that_can_succeed(
    root: Path, coverage: float, panel: HourlyPanel, action: str
) -> None:
    clock, runner = ManualClock(), FakeRunner()
    jobs = JobService(store=InMemoryJobStore(), runner=runner, clock=clock)
    await jobs.start()
    history = FakeHistory({})
    history.hours = dict(panel)
    requested: list[tuple[str, str]] = []

    class Live:
        def live_of(self, model: str, version: str, days: int) -> list[HorizonRecord]:
            assert days == DriftPolicy().window_days
            requested.append((model, version))
            return [HorizonRecord(0, 5000, coverage_80_percent=coverage, horizon_hours=6)]

    monitor = DriftMonitor(
        jobs=jobs,
        registry=Registry(root, clock=clock),
        history=history,
        live=Live(),
        clock=clock,
        policy=DriftPolicy(bounds=DriftThresholds(max_age_days=1e9)),
        models=("intraday",),
    )
    checked = await monitor.check("intraday")
    assert checked is not None
    assert checked.action.startswith(action)
    assert requested == [("intraday", "v000001")]
    assert [job.spec.model for job in jobs.recent()] == ["intraday"] * action.startswith("submitted")
    if coverage != 80.0:
        assert "at 6 h is 50.0 %" in checked.drift.reasons[0]
    await jobs.stop()
