"""Drift: what counts, how often it may ask, and what the calendar asks."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coincast_chassis.clock import ManualClock
from coincast_chassis.errors import InvalidInput
from coincast_modelkit.artifact import HorizonRecord
from coincast_modelkit.features import DEFAULT_SPEC
from coincast_training.domain import JobState, TrainingSpec
from coincast_training.drift.assessment import DriftThresholds, FeatureDrift, assess_drift
from coincast_training.drift.feature_drift import feature_drift
from coincast_training.drift.monitor import DriftMonitor, DriftPolicy
from coincast_training.jobs.service import JobService
from coincast_training.jobs.stores.in_memory import InMemoryJobStore
from coincast_training.schedule.cron import Calendar
from coincast_training.settings import Settings
from tests.unit.clock_jumps import JUMPS
from tests.unit.training.jobs.test_service import FakeRunner
from tests.unit.training.training_fakes import FakeHistory, candles_of, panel_of, pipeline_in

QUIET = FeatureDrift(psi_share=0.1, psi_usual=0.2, ks_share=0.1, ks_usual=0.2)
COINS = ("bitcoin", "ethereum")
DAY = 86400
# A collaborator that these tests never reach.
NOTHING: Any = None


def record(coverage: float, horizon: int = 1, forecasts: int = 1000) -> HorizonRecord:
    return HorizonRecord(horizon, forecasts, coverage_80_percent=coverage)


def hour_record(coverage: float, hours: int, forecasts: int = 1000) -> HorizonRecord:
    return HorizonRecord(0, forecasts, coverage_80_percent=coverage, horizon_hours=hours)


@pytest.mark.parametrize(
    ("live", "features", "age", "word"),
    [
        ([record(60)], QUIET, 1.0, "Coverage"),
        ([record(95)], QUIET, 1.0, "Coverage"),
        ([], replace(QUIET, psi_share=0.5), 1.0, "stability"),
        ([], replace(QUIET, ks_share=0.5), 1.0, "Kolmogorov"),
        ([], None, 15.0, "days old"),
        ([hour_record(60, hours=1)], None, 1.0, "at 1 h"),
        ([hour_record(50, hours=48, forecasts=2000)], None, 1.0, "at 48 h"),
    ],
)
def test_each_breach_gives_its_reason(live, features, age, word):
    found = assess_drift(live=live, features=features, age_days=age, bounds=DriftThresholds())
    assert found.drifted
    assert word in found.reasons[0]
    assert max(found.scores.values()) >= 1


@pytest.mark.parametrize(
    ("live", "features", "age"),
    [
        ([record(80)], QUIET, 1.0),
        ([record(76)], QUIET, 1.0),
        ([record(40, forecasts=50)], QUIET, 1.0),  # too few to tell
        ([record(66, horizon=30, forecasts=900)], QUIET, 1.0),  # thirty independent months at most
        ([], replace(QUIET, psi_share=0.5, psi_usual=0.6), 1.0),  # earlier months moved as much
        ([], None, None),
        ([hour_record(66, hours=48, forecasts=900)], None, 1.0),  # nineteen independent periods at most
    ],
)
def test_what_is_usual_is_no_drift(live, features, age):
    assert not assess_drift(live=live, features=features, age_days=age, bounds=DriftThresholds()).drifted


def test_features_drift_in_a_market_that_changed_only():
    calm = {coin: candles_of(coin, 900, first="2022-01-01") for coin in COINS}
    storm = {coin: _with_storm(candles) for coin, candles in calm.items()}
    options: dict[str, Any] = {"learnt_to": np.datetime64("2024-03-01"), "days": 30, "psi": 0.25, "ks": 0.25}
    quiet = feature_drift(calm, calm, DEFAULT_SPEC, **options)
    loud = feature_drift(storm, storm, DEFAULT_SPEC, **options)
    assert not assess_drift(live=[], features=quiet, age_days=None, bounds=DriftThresholds()).drifted
    assert assess_drift(live=[], features=loud, age_days=None, bounds=DriftThresholds()).drifted


def test_days_that_were_learnt_already_are_no_drift():
    storm = {coin: _with_storm(candles_of(coin, 900, first="2022-01-01")) for coin in COINS}
    last = storm["bitcoin"].dates[-1]
    options: dict[str, Any] = {"days": 30, "psi": 0.25, "ks": 0.25}
    assert feature_drift(storm, storm, DEFAULT_SPEC, learnt_to=last, **options) is None
    day_before = last - np.timedelta64(1, "D")
    assert feature_drift(storm, storm, DEFAULT_SPEC, learnt_to=day_before, **options) is not None


def _with_storm(candles):
    """The same with moves four times as large in the last forty days."""
    returns = np.diff(np.log(candles.close), prepend=np.log(candles.close[0]))
    returns[-40:] *= 4
    close = np.exp(np.log(candles.close[0]) + np.cumsum(returns))
    scale = close / candles.close
    return type(candles)(
        candles.coin_id, candles.dates, candles.open * scale, candles.high * scale * 1.05,
        candles.low * scale / 1.05, close, candles.volume,
    )  # fmt: skip


class Live:
    """The same live record for every version."""

    def __init__(self, coverage: float) -> None:
        self._coverage = coverage

    def live_of(self, model: str, version: str, days: int) -> list[HorizonRecord]:
        return [record(self._coverage)]


async def monitored(tmp_path: Path, *, coverage: float, runner: FakeRunner, clock: ManualClock, store=None):
    pipeline = pipeline_in(tmp_path, FakeHistory(panel_of(COINS)))
    spec = TrainingSpec(model="lightgbm", ids=COINS, promote_if_better=True)
    if not pipeline.registry.table("lightgbm").production:
        await pipeline.run(spec, requested_by="t", run_id="r", progress=lambda *_: None)
    jobs = JobService(store=store or InMemoryJobStore(), runner=runner, clock=clock)
    await jobs.start()
    monitor = DriftMonitor(
        jobs=jobs,
        registry=pipeline.registry,
        history=FakeHistory({}),
        live=Live(coverage),
        clock=clock,
        policy=DriftPolicy(cooldown_seconds=DAY, budget_per_week=2, bounds=DriftThresholds(max_age_days=1e9)),
        models=("lightgbm",),
    )
    return monitor, jobs


async def test_drift_asks_once_a_cooldown_and_within_the_budget(tmp_path: Path):
    clock, runner = ManualClock(), FakeRunner()
    runner.gate.set()
    monitor, jobs = await monitored(tmp_path, coverage=50, runner=runner, clock=clock)
    actions = []
    for _ in range(8):
        checked = await monitor.check("lightgbm")
        actions.append(checked.action)
        for job in jobs.recent():
            async for _ in jobs.watch(job.job_id):
                pass
        clock.advance(DAY / 2 + 1)
    assert [("submitted" in action) for action in actions] == [
        True,
        False,
        True,
        False,
        False,
        False,
        False,
        False,
    ]
    assert "cooldown" in actions[1]
    assert "budget" in actions[4]
    job = jobs.recent()[0]
    assert (job.requested_by, job.spec.promote_if_better, job.spec.ids) == ("drift", True, COINS)
    assert "Coverage of the 80 % interval at 1 d is 50.0 %" in (await jobs.logs(job.job_id, 5))[0]


async def test_no_drift_asks_nothing(tmp_path: Path):
    monitor, jobs = await monitored(tmp_path, coverage=80, runner=FakeRunner(), clock=ManualClock())
    assert (await monitor.check("lightgbm")).action == "nothing to do"
    assert jobs.recent() == []
    assert await monitor.check("ml_ensemble") is None


async def test_the_calendar_asks_for_the_coins_of_production(tmp_path: Path):
    monitor, jobs = await monitored(tmp_path, coverage=80, runner=FakeRunner(), clock=ManualClock())
    calendar = Calendar(
        jobs=jobs,
        registry=monitor._registry,
        cron="0 3 * * 0",
        models=("lightgbm", "lstm", "nonsense"),
        coins=("solana",),
        days=0,
    )
    calendar.start()
    assert calendar.next_run_at() is not None
    await calendar.fire()
    calendar.stop()
    requested = {job.spec.model: job.spec.ids for job in jobs.recent()}
    assert requested["lightgbm"] == COINS
    assert requested.get("lstm", ("solana",)) == ("solana",)
    assert all(job.requested_by == "schedule" and job.state is not JobState.FAILED for job in jobs.recent())


async def test_the_default_is_sunday_at_three():
    calendar = Calendar(jobs=NOTHING, registry=NOTHING, cron=Settings().schedule, models=(), coins=(), days=0)
    calendar.start()
    next_run_at = calendar.next_run_at()
    assert next_run_at is not None
    at = dt.datetime.fromtimestamp(next_run_at, dt.UTC)
    calendar.stop()
    assert (at.strftime("%A %H:%M"), 0 <= (at - dt.datetime.now(dt.UTC)).total_seconds() <= 7 * DAY) == (
        "Sunday 03:00",
        True,
    )


def test_a_wrong_cron_expression_names_itself():
    with pytest.raises(InvalidInput, match="TRAINING_SCHEDULE"):
        Calendar(jobs=NOTHING, registry=NOTHING, cron="every day", models=(), coins=(), days=0)


@pytest.mark.parametrize("jump", JUMPS)
async def test_a_job_of_a_wrong_clock_blocks_trainings_no_longer_than_the_cooldown(
    tmp_path: Path, jump: float
):
    """A process whose clock was wrong submitted the last training; the next one has a right clock."""
    wrong, right, store = ManualClock(), ManualClock(), InMemoryJobStore()
    wrong.set_wall(wrong.now() + jump)
    runner = FakeRunner()
    runner.gate.set()
    monitor, jobs = await monitored(tmp_path, coverage=50, runner=runner, clock=wrong, store=store)
    assert "submitted" in (await monitor.check("lightgbm")).action
    for job in jobs.recent():
        async for _ in jobs.watch(job.job_id):
            pass
    await jobs.stop()
    monitor, jobs = await monitored(tmp_path, coverage=50, runner=runner, clock=right, store=store)
    right.advance(DAY + abs(jump) % (2 * DAY) + 1)
    assert "submitted" in (await monitor.check("lightgbm")).action
    await jobs.stop()
