"""Gauges that are updated periodically and not by events."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import REGISTRY

from coincast_training.domain import TrainingSpec
from coincast_training.gauge_updater import observe_ages, observe_queue
from tests.unit.training.jobs.test_service import SPEC, FakeRunner, ended, started
from tests.unit.training.training_fakes import FakeHistory, panel_of, pipeline_in


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"coincast_training_{name}", labels)


async def test_queue_and_ages_are_shown(tmp_path: Path):
    runner = FakeRunner()
    jobs = await started(runner)
    first = await jobs.submit(SPEC, requested_by="t")
    observe_queue(jobs)
    assert value("jobs_queued") == 1.0
    runner.gate.set()
    await ended(jobs, first)
    observe_queue(jobs)
    assert value("jobs_queued") == 0.0
    assert value("last_success_timestamp_seconds", model="lightgbm") is not None
    pipeline = pipeline_in(tmp_path, FakeHistory(panel_of(("bitcoin",))))
    spec = TrainingSpec(model="lightgbm", ids=("bitcoin",), promote_if_better=True)
    await pipeline.run(spec, requested_by="t", run_id="r", progress=lambda *_: None)
    created_at = pipeline.registry.versions.get("lightgbm", "v000001").created_at
    observe_ages(pipeline.registry, created_at + 100)
    assert value("artifact_age_seconds", model="lightgbm", alias="production") == 100.0
