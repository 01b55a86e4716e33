"""The first version of a fresh machine: trained once, whatever goes wrong around it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from coincast_chassis.clock import ManualClock
from coincast_chassis.errors import Unavailable
from coincast_training.bootstrap import bootstrap
from coincast_training.domain import Job, JobState, Outcome, TrainingSpec
from coincast_training.jobs.ports import Failed, Finished
from coincast_training.jobs.stores.in_memory import InMemoryJobStore
from coincast_training.registry.registry import AliasChange, Registry
from tests.unit.training.jobs.test_service import FakeRunner, started
from tests.unit.training.registry.test_registry import MODEL, write

JOB_LEFT = TrainingSpec(model=MODEL, ids=("bitcoin",), days=400)
REFUSED = Finished(Outcome("v000001", promoted=False, promotion="The gate refused it."))


class BusyRegistry(Registry):
    """Locked by another process for the first so many promotions."""

    busy = 0

    def promote(self, *args: Any, **options: Any) -> AliasChange:
        if self.busy:
            self.busy -= 1
            raise Unavailable("The registry was locked.")
        return super().promote(*args, **options)


class StalledStore(InMemoryJobStore):
    """Keeps what it is given, but the word that it did is lost for the first so many times."""

    lost = 0

    async def save(self, job: Job) -> None:
        await super().save(job)
        if self.lost:
            self.lost -= 1
            raise Unavailable("Redis does not answer.")


@pytest.fixture
def registry(tmp_path: Path) -> BusyRegistry:
    """One version that the gate refuses lies there as if a job had just written it."""
    found = BusyRegistry(tmp_path, clock=ManualClock())
    write(found, width=3.0)
    return found


def runner_of(*events: Any) -> FakeRunner:
    runner = FakeRunner(*events)
    runner.gate.set()
    return runner


async def first_models(jobs: Any, registry: Registry, tries: int = 4) -> None:
    await bootstrap(
        jobs, registry, models=[MODEL], coins=["bitcoin"], days=400, pauses_seconds=[0.01] * tries
    )


async def test_a_promotion_that_fails_is_repeated_and_not_the_training(registry: BusyRegistry) -> None:
    registry.busy, runner = 2, runner_of(REFUSED)
    jobs = await started(runner)
    await first_models(jobs, registry)
    assert registry.table(MODEL).production == "v000001"
    assert len(runner.closed) == len(jobs.recent()) == 1
    (entry,) = registry.audit.entries(MODEL)
    assert (entry.requested_by, entry.forced) == ("bootstrap", True)
    assert entry.reason == f"The first version of {MODEL}: nothing serves yet. The gate refused it."


async def test_a_submission_whose_answer_is_lost_is_no_second_job(registry: BusyRegistry) -> None:
    store, runner = StalledStore(), runner_of(REFUSED)
    jobs = await started(runner, store)
    store.lost = 1
    await first_models(jobs, registry)
    assert [job.state for job in await store.load_all()] == [JobState.SUCCEEDED]
    assert len(runner.closed) == 1


async def test_a_training_that_failed_is_tried_again_and_given_up_at_last(registry: BusyRegistry) -> None:
    runner = runner_of(Failed("No history."))
    jobs = await started(runner)
    await first_models(jobs, registry, tries=3)
    assert [job.state for job in jobs.recent()] == [JobState.FAILED] * 3
    assert registry.table(MODEL).production == ""


async def test_what_an_earlier_life_left_is_waited_for_and_a_cancelled_one_is_let_be(
    registry: BusyRegistry,
) -> None:
    runner = FakeRunner(REFUSED)
    jobs = await started(runner)
    left = await jobs.submit(JOB_LEFT, requested_by="schedule")
    waiting = asyncio.create_task(first_models(jobs, registry))
    await asyncio.sleep(0.01)
    assert len(jobs.recent()) == 1
    await jobs.cancel(left.job_id)
    await asyncio.wait_for(waiting, 20)
    assert len(jobs.recent()) == 1


async def test_nothing_is_trained_where_something_serves(registry: BusyRegistry) -> None:
    registry.promote(MODEL, "v000001", force=True, reason="a test", requested_by="t")
    jobs = await started(runner_of(REFUSED))
    await first_models(jobs, registry)
    assert jobs.recent() == []
