"""The newest training job of a model, as the progress line needs it."""

from __future__ import annotations

import pytest

from coincast.training.v1 import training_pb2 as tr
from coincast_stack.status.training import JobView, TrainingWatch
from tests.unit.stack.fake_system import FakeTraining, grpc_server


async def test_a_job_that_runs() -> None:
    training = FakeTraining()
    training.jobs["lightgbm"] = tr.Job(state=tr.JOB_STATE_RUNNING, stage="walk-forward", progress=0.25)
    async with grpc_server(training=training) as target, TrainingWatch(target) as watch:
        assert await watch.newest("lightgbm") == JobView(0.25, "walk-forward", failed=False, error="")
        assert await watch.newest("lstm") is None


@pytest.mark.parametrize(
    ("state", "failed"),
    [
        (tr.JOB_STATE_QUEUED, False),
        (tr.JOB_STATE_SUCCEEDED, False),
        (tr.JOB_STATE_FAILED, True),
        (tr.JOB_STATE_CANCELLED, True),
        (tr.JOB_STATE_INTERRUPTED, True),
    ],
)
async def test_a_job_that_ended_without_a_version_has_failed(
    state: tr.JobState.ValueType, failed: bool
) -> None:
    training = FakeTraining()
    training.jobs["lightgbm"] = tr.Job(state=state, error="why")
    async with grpc_server(training=training) as target, TrainingWatch(target) as watch:
        job = await watch.newest("lightgbm")
    assert job is not None
    assert (job.failed, job.error) == (failed, "why")


async def test_a_service_that_does_not_answer_has_no_job() -> None:
    async with TrainingWatch("127.0.0.1:1") as watch:
        assert await watch.newest("lightgbm") is None
