"""The queue, over a fake runner and a store that outlives it."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import pytest

from coincast_chassis.clock import ManualClock
from coincast_chassis.errors import Exhausted, InvalidInput, NotFound, Unavailable
from coincast_training.domain import Job, JobState, Outcome, TrainingSpec
from coincast_training.jobs.ports import KEPT_JOBS, Event, Failed, Finished, LogEvent, ProgressEvent
from coincast_training.jobs.service import JobService
from coincast_training.jobs.stores.in_memory import InMemoryJobStore

SPEC = TrainingSpec(model="lightgbm", ids=("bitcoin",), days=365)


class FakeRunner:
    """Blocks each job until released; then yields the scripted events."""

    def __init__(self, *events: Event) -> None:
        self.events = events or (
            ProgressEvent(0.5, "half"),
            LogEvent("a line"),
            Finished(Outcome("v000001", True, "moved")),
        )
        self.running: list[str] = []
        self.most_at_once = 0
        self.closed: list[str] = []
        self.gate = asyncio.Event()

    async def run(self, job: Job) -> AsyncGenerator[Event]:
        self.running.append(job.spec.model)
        self.most_at_once = max(self.most_at_once, len(self.running))
        try:
            await self.gate.wait()
            for event in self.events:
                yield event
        finally:
            self.running.remove(job.spec.model)
            self.closed.append(job.job_id)


async def started(runner: FakeRunner, store: InMemoryJobStore | None = None, **options) -> JobService:
    service = JobService(store=store or InMemoryJobStore(), runner=runner, clock=ManualClock(), **options)
    await service.start()
    return service


async def ended(service: JobService, job: Job) -> Job:
    async for seen, _ in service.watch(job.job_id):
        job = seen
    return job


async def test_a_job_runs_to_its_version():
    runner = FakeRunner()
    service = await started(runner)
    job = await service.submit(SPEC, requested_by="test")
    assert job.state is JobState.QUEUED
    runner.gate.set()
    job = await ended(service, job)
    assert (job.state, job.version, job.progress, job.promotion) == (
        JobState.SUCCEEDED,
        "v000001",
        1.0,
        "moved",
    )
    assert await service.logs(job.job_id, 10) == ["a line"]


async def test_watch_gives_each_line_once():
    runner = FakeRunner(*(LogEvent(f"line {i}") for i in range(50)), Finished(Outcome("v000001", False, "")))
    service = await started(runner)
    job = await service.submit(SPEC, requested_by="test")

    async def lines() -> list[str]:
        return [line async for _, new in service.watch(job.job_id) for line in new]

    watching = [asyncio.create_task(lines()) for _ in range(3)]
    await asyncio.sleep(0.01)
    runner.gate.set()
    for received in await asyncio.gather(*watching):
        assert received == [f"line {i}" for i in range(50)]


async def test_one_job_a_model_at_a_time():
    runner = FakeRunner()
    service = await started(runner, max_running=4)
    jobs = [await service.submit(replace(SPEC, days=days), requested_by="test") for days in (100, 200, 300)]
    other = await service.submit(replace(SPEC, model="ml_ensemble"), requested_by="test")
    await asyncio.sleep(0.01)
    assert sorted(runner.running) == ["lightgbm", "ml_ensemble"]
    runner.gate.set()
    states = [(await ended(service, job)).state for job in (*jobs, other)]
    assert states == [JobState.SUCCEEDED] * 4
    assert runner.most_at_once == 2


async def test_cancel_of_waiting_and_running():
    runner = FakeRunner()
    service = await started(runner)
    first = await service.submit(SPEC, requested_by="test")
    second = await service.submit(SPEC, requested_by="test")
    await asyncio.sleep(0.01)
    assert (await service.cancel(second.job_id)).state is JobState.CANCELLED
    assert (await service.cancel(first.job_id)).state is JobState.CANCELLED
    assert runner.closed == [first.job_id]
    third = await service.submit(SPEC, requested_by="test")
    runner.gate.set()
    assert (await ended(service, third)).state is JobState.SUCCEEDED


async def test_cancel_of_an_ended_job_changes_nothing():
    runner = FakeRunner()
    runner.gate.set()
    service = await started(runner)
    job = await ended(service, await service.submit(SPEC, requested_by="test"))
    assert await service.cancel(job.job_id) == job


@pytest.mark.slow
async def test_20000_submitted_and_cancelled_jobs_are_not_kept():
    store = InMemoryJobStore()
    service = await started(FakeRunner(), store, max_running=0)
    spec = replace(SPEC, ids=tuple(f"coin-{n}" for n in range(20)))
    for _ in range(20_000):
        job = await service.submit(spec, requested_by="test", reason="x" * 200)
        await service.cancel(job.job_id)
    assert len(service.recent(limit=50_000)) == KEPT_JOBS
    assert service.get(job.job_id).state is JobState.CANCELLED
    assert len(await store.load_all()) == KEPT_JOBS
    assert await store.read_log(job.job_id, 5) == ["x" * 200]
    waiting = await service.submit(spec, requested_by="test")
    for _ in range(5):
        other = await service.submit(spec, requested_by="test")
        await service.cancel(other.job_id)
    assert service.get(waiting.job_id).state is JobState.QUEUED, "a job that waits is never removed"


async def test_a_log_without_end_is_bounded_in_memory_and_read_to_its_newest_line():
    lines = [LogEvent(f"{n} " + "x" * 9000) for n in range(20_000)]
    runner = FakeRunner(*lines, Finished(Outcome("v000001", True, "moved")))
    store = InMemoryJobStore()
    service = await started(runner, store)
    job = await service.submit(SPEC, requested_by="test")
    seen: list[str] = []

    async def watch() -> None:
        async for _, new in service.watch(job.job_id):
            seen.extend(new)

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0.01)
    runner.gate.set()
    await asyncio.wait_for(watching, 60)
    assert seen[-1].startswith("19999 ")
    assert {len(line) for line in seen} == {4000}
    assert [int(line.split()[0]) for line in seen] == sorted({int(line.split()[0]) for line in seen})


async def test_the_same_key_gives_the_first_job():
    service = await started(FakeRunner())
    jobs = await asyncio.gather(
        *(service.submit(SPEC, requested_by="test", idempotency_key="k") for _ in range(10))
    )
    assert len({job.job_id for job in jobs}) == 1
    assert len(service.recent()) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"days": 400},
        {"ids": ("ethereum",)},
        {"model": "ml_ensemble"},
        {"tune_trials": 3},
        {"promote_if_better": True},
    ],
)
async def test_the_same_key_with_another_spec_is_refused(change: dict[str, Any]):
    service = await started(FakeRunner())
    first = await service.submit(SPEC, requested_by="test", idempotency_key="k")
    with pytest.raises(InvalidInput, match=first.job_id) as refused:
        await service.submit(replace(SPEC, **change), requested_by="test", idempotency_key="k")
    assert refused.value.field == "idempotency_key"
    assert await service.submit(SPEC, requested_by="test", idempotency_key="k") == first
    assert len(service.recent()) == 1


async def test_a_full_queue_refuses():
    service = await started(FakeRunner(), max_queued=2)
    await service.submit(SPEC, requested_by="test")
    await asyncio.sleep(0.01)
    for _ in range(2):
        await service.submit(SPEC, requested_by="test")
    with pytest.raises(Exhausted) as refused:
        await service.submit(SPEC, requested_by="test")
    assert refused.value.retry_after_seconds


async def test_a_restart_takes_up_what_ran_and_what_waited():
    store, runner = InMemoryJobStore(), FakeRunner()
    first_life = await started(runner, store)
    ran = await first_life.submit(SPEC, requested_by="test")
    waited = await first_life.submit(SPEC, requested_by="test")
    await asyncio.sleep(0.01)
    await first_life.stop()
    runner.gate.set()
    second_life = await started(runner, store)
    assert second_life.get(ran.job_id).attempt == 1
    assert (await ended(second_life, ran)).state is JobState.SUCCEEDED
    assert (await ended(second_life, waited)).state is JobState.SUCCEEDED


async def test_a_job_that_kills_its_worker_again_and_again_is_marked():
    store, runner = InMemoryJobStore(), FakeRunner()
    job = None
    for _ in range(3):
        life = await started(runner, store)
        job = job or await life.submit(SPEC, requested_by="test")
        await asyncio.sleep(0.01)
        await life.stop()
    last = await started(runner, store)
    assert job is not None
    assert last.get(job.job_id).state is JobState.INTERRUPTED
    assert "3 times" in last.get(job.job_id).error


@pytest.mark.parametrize("events", [(Failed("no history"),), (LogEvent("then silence"),)])
async def test_a_failure_says_why(events):
    runner = FakeRunner(*events)
    runner.gate.set()
    service = await started(runner)
    job = await ended(service, await service.submit(SPEC, requested_by="test"))
    assert job.state is JobState.FAILED
    assert job.error


async def test_a_job_that_takes_too_long_is_ended():
    runner = FakeRunner()
    service = await started(runner, timeout_seconds=0.05)
    job = await ended(service, await service.submit(SPEC, requested_by="test"))
    assert job.state is JobState.FAILED
    assert "longer" in job.error
    assert runner.closed == [job.job_id]


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (replace(SPEC, model="prophet"), "model"),
        (replace(SPEC, ids=()), "ids"),
        (replace(SPEC, ids=("../etc",)), "ids"),
        (replace(SPEC, ids=tuple(f"c{i}" for i in range(251))), "ids"),
        (replace(SPEC, days=20), "days"),
        (replace(SPEC, days=10_001), "days"),
        (replace(SPEC, tune_trials=201), "tune_trials"),
        (replace(SPEC, from_version="../v1"), "from_version"),
        (replace(SPEC, from_version="v000001", tune_trials=3), "tune_trials"),
    ],
)
async def test_what_cannot_be_requested_names_its_field(spec, field):
    service = await started(FakeRunner())
    with pytest.raises(InvalidInput) as refused:
        await service.submit(spec, requested_by="test")
    assert refused.value.field == field


async def test_ids_are_put_in_order_once_each():
    service = await started(FakeRunner())
    job = await service.submit(replace(SPEC, ids=("Bitcoin", "ethereum", "bitcoin ")), requested_by="test")
    assert job.spec.ids == ("bitcoin", "ethereum")


async def test_nothing_is_taken_before_the_queue_is_loaded():
    service = JobService(store=InMemoryJobStore(), runner=FakeRunner(), clock=ManualClock())
    with pytest.raises(Unavailable):
        await service.submit(SPEC, requested_by="test")
    with pytest.raises(NotFound):
        service.get("nothing")
