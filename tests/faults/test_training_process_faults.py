"""The training service as a process is killed in the middle of a job, and comes back."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from coincast.training.v1 import training_pb2 as pb
from coincast.training.v1 import training_pb2_grpc
from coincast_chassis.errors import Unavailable
from coincast_chassis.grpc.channel import open_channel
from coincast_modelkit.artifact import check_golden, read_artifact
from tests.contract.valkey_harness import running_valkey
from tests.integration.training_process import Running, training_process
from tests.integration.training_rig import COINS, DAYS, first_day, spec
from tests.unit.training.training_fakes import panel_of
from tests.unit.training.training_market import PanelMarket, market_service

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]
if TYPE_CHECKING:
    from coincast.training.v1.training_pb2_grpc import TrainingServiceAsyncStub as Stub


@pytest.fixture
def redis_url() -> Iterator[str]:
    with running_valkey() as server:
        yield server.url


@asynccontextmanager
async def life(folder: Path, redis_url: str, market: str) -> AsyncIterator[tuple[Running, Stub]]:
    """One life of the service."""
    async with (
        training_process(folder, redis_url, market) as service,
        open_channel(service.address, service="coincast.training.v1.TrainingService") as channel,
    ):
        yield service, training_pb2_grpc.TrainingServiceStub(channel)


async def submitted(jobs: Stub) -> pb.Job:
    """One job, whichever life takes it: its key is the same."""
    for _ in range(300):
        try:
            reply = await jobs.SubmitJob(pb.SubmitJobRequest(spec=spec(days=400), idempotency_key="once"))
        except Unavailable:  # the queue is still loading
            await asyncio.sleep(0.1)
        else:
            return reply.job
    raise AssertionError("the queue never loaded")


def children_of(pid: int) -> list[int]:
    """The processes of its jobs."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(word) for path in lists for word in path.read_text().split()]


def alive(pids: list[int]) -> bool:
    return any(Path(f"/proc/{pid}").exists() for pid in pids)


async def gone(pids: list[int]) -> bool:
    for _ in range(100):
        if not alive(pids):
            return True
        await asyncio.sleep(0.1)
    return False


async def test_a_service_killed_in_the_middle_of_its_job_takes_it_up_again(
    tmp_path: Path, redis_url: str
) -> None:
    market = PanelMarket(panel_of(COINS, days=DAYS, first=first_day()))
    async with market_service(market) as address:
        async with life(tmp_path, redis_url, address) as (service, jobs):
            first = await submitted(jobs)
            watching = jobs.WatchJob(pb.WatchJobRequest(job_id=first.job_id))
            async for seen in watching:
                if seen.job.progress > 0.1:
                    break
            killed_at, workers = seen.job.progress, children_of(service.pid)
            os.kill(service.pid, signal.SIGKILL)
            assert workers
            assert await gone(workers), "a job's process outlived its service"
        async with life(tmp_path, redis_url, address) as (_, jobs):
            again = await submitted(jobs)
            assert again.job_id == first.job_id
            async for seen in jobs.WatchJob(pb.WatchJobRequest(job_id=again.job_id)):
                job = seen.job
    print(f"\nkilled at {100 * killed_at:.0f} %: taken up again, attempt {job.attempt}, {job.version}")
    assert (job.state, job.attempt, job.version) == (pb.JOB_STATE_SUCCEEDED, 1, "v000001"), job
    loaded = read_artifact(tmp_path / "artifacts", "lightgbm", "v000001")
    assert check_golden(loaded.model, loaded.golden) < 1e-9
    assert not list((tmp_path / "artifacts").rglob(".writing-*"))
