"""The whole service in process: real Redis protocol, real gRPC, real child processes, LightGBM on
simulated candles.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from coincast.training.v1 import training_pb2 as pb
from coincast.training.v1 import training_pb2_grpc
from coincast_chassis.errors import Conflict, InvalidInput, NotFound, NotReady
from coincast_chassis.grpc.channel import open_channel
from coincast_chassis.redis import open_redis
from coincast_modelkit.artifact import check_golden, read_aliases, read_artifact
from coincast_modelkit.ledger import STREAM_FIELD, STREAM_KEY
from tests.contract.valkey_harness import running_valkey
from tests.integration.training_rig import COINS, DAYS, first_day, spec, training_service
from tests.unit.training.training_fakes import panel_of
from tests.unit.training.training_ledger_rows import entry_of
from tests.unit.training.training_market import PanelMarket, market_service

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def redis_url() -> Iterator[str]:
    with running_valkey() as server:
        yield server.url


@pytest.fixture
async def market() -> AsyncIterator[tuple[PanelMarket, str]]:
    fake = PanelMarket(panel_of(COINS, days=DAYS, first=first_day()))
    async with market_service(fake) as address:
        yield fake, address


@asynccontextmanager
async def running(tmp_path: Path, redis_url: str, market: str, **options):
    """The service's three stubs."""
    async with training_service(tmp_path, redis_url, market, **options) as address:
        channel = open_channel(address, service="coincast.training.v1.TrainingService")
        try:
            yield (
                training_pb2_grpc.TrainingServiceStub(channel),
                training_pb2_grpc.RegistryServiceStub(channel),
                training_pb2_grpc.AccuracyServiceStub(channel),
            )
        finally:
            await channel.close()


async def submitted(jobs, **options) -> pb.Job:
    for _ in range(100):
        try:
            return (
                await jobs.SubmitJob(pb.SubmitJobRequest(spec=spec(), requested_by="test", **options))
            ).job
        except Exception as error:  # the queue is still loading
            if "not loaded" not in str(error):
                raise
            await asyncio.sleep(0.05)
    raise AssertionError("the queue never loaded")


async def ended(jobs, job: pb.Job) -> tuple[pb.Job, list[str]]:
    lines: list[str] = []
    # A stream that does not end is to fail here, where its name is.
    async for reply in jobs.WatchJob(pb.WatchJobRequest(job_id=job.job_id), timeout=120):
        job = reply.job
        lines += reply.log_lines
    return job, lines


async def test_a_fresh_service_trains_its_first_model_and_serves_it(tmp_path, redis_url, market):
    async with running(
        tmp_path, redis_url, market[1], bootstrap=True, starter=False, coins=COINS[:1], bootstrap_days=150
    ) as (jobs, registry, _):
        for _ in range(100):
            listed = (await jobs.ListJobs(pb.ListJobsRequest(), timeout=60)).jobs
            if listed:
                break
            await asyncio.sleep(0.1)
        job, _ = await ended(jobs, listed[0])
        assert (job.state, job.version, job.requested_by) == (
            pb.JOB_STATE_SUCCEEDED,
            "v000001",
            "bootstrap",
        ), job
        for _ in range(50):
            if read_aliases(tmp_path / "artifacts", "lightgbm").production:
                break
            await asyncio.sleep(0.1)
        loaded = read_artifact(tmp_path / "artifacts", "lightgbm", "v000001")
        assert check_golden(loaded.model, loaded.golden) < 1e-9
        (version,) = (
            await registry.ListVersions(pb.ListVersionsRequest(model="lightgbm"), timeout=60)
        ).versions
        assert list(version.aliases) == ["production"]
        assert version.record.horizons[0].forecasts > 40
        status = await jobs.GetStatus(pb.GetStatusRequest(), timeout=60)
        assert status.redis_up
        assert status.artifacts_size_bytes > 1000
        assert "lightgbm" in status.trainable_models


async def test_cancel_ends_the_process_and_the_next_job_runs(tmp_path, redis_url, market):
    async with running(tmp_path, redis_url, market[1]) as (jobs, *_):
        first = await submitted(jobs)
        second = await submitted(jobs)
        await asyncio.sleep(0.5)
        cancelled = (await jobs.CancelJob(pb.CancelJobRequest(job_id=first.job_id))).job
        assert cancelled.state == pb.JOB_STATE_CANCELLED
        job, _ = await ended(jobs, second)
        assert job.state == pb.JOB_STATE_SUCCEEDED, job
        assert job.version == "v000001"


async def test_a_restart_takes_the_running_job_up_again(tmp_path, redis_url, market):
    async with running(tmp_path, redis_url, market[1]) as (jobs, *_):
        job = await submitted(jobs, idempotency_key="once")
        await asyncio.sleep(0.5)
    async with running(tmp_path, redis_url, market[1]) as (jobs, *_):
        again = await submitted(jobs, idempotency_key="once")
        assert again.job_id == job.job_id
        job, _ = await ended(jobs, again)
        assert (job.state, job.attempt) == (pb.JOB_STATE_SUCCEEDED, 1), job


async def test_market_data_that_breaks_off_in_the_middle_is_requested_again(tmp_path, redis_url, market):
    fake, address = market
    fake.breaks = 2
    async with running(tmp_path, redis_url, address, history_attempts=4) as (jobs, *_):
        job, lines = await ended(jobs, await submitted(jobs))
    assert (job.state, job.version) == (pb.JOB_STATE_SUCCEEDED, "v000001"), job
    assert fake.calls >= 3
    assert sum("history_retried" in line for line in lines) == 2, lines


async def test_market_data_that_breaks_off_again_and_again_is_named_and_leaves_nothing(
    tmp_path, redis_url, market
):
    fake, address = market
    fake.breaks = 1000
    async with running(tmp_path, redis_url, address, history_attempts=2) as (jobs, registry, _):
        job, _ = await ended(jobs, await submitted(jobs))
        assert job.state == pb.JOB_STATE_FAILED
        assert "no history after 2 attempts" in job.error
        assert not (await registry.ListVersions(pb.ListVersionsRequest(model="lightgbm"))).versions
        assert not list((tmp_path / "artifacts").rglob(".writing-*"))


async def test_errors_come_back_in_their_kind(tmp_path, redis_url, market):
    async with running(tmp_path, redis_url, market[1]) as (jobs, registry, accuracy):
        with pytest.raises(InvalidInput) as wrong:
            await submitted_with(jobs, model="prophet")
        assert wrong.value.field == "model"
        with pytest.raises(NotFound):
            await jobs.GetJob(pb.GetJobRequest(job_id="nothing"))
        with pytest.raises(NotFound):
            await registry.PromoteVersion(pb.PromoteVersionRequest(model="lightgbm", version="v000001"))
        with pytest.raises(NotReady):
            await registry.RollbackModel(pb.RollbackModelRequest(model="lightgbm", reason="bad"))
        with pytest.raises(InvalidInput):
            await registry.ListVersions(pb.ListVersionsRequest(model="../etc"))
        with pytest.raises(InvalidInput):
            await accuracy.GetAccuracy(pb.GetAccuracyRequest(days=400))


async def submitted_with(jobs, **changes):
    await submitted(jobs)
    return await jobs.SubmitJob(pb.SubmitJobRequest(spec=spec(**changes)))


async def test_a_promotion_at_a_stale_revision_is_refused(tmp_path, redis_url, market):
    async with running(tmp_path, redis_url, market[1]) as (jobs, registry, _):
        await ended(jobs, await submitted(jobs))
        move: dict[str, Any] = {
            "model": "lightgbm",
            "version": "v000001",
            "force": True,
            "reason": "test",
            "requested_by": "test",
        }
        moved = await registry.PromoteVersion(pb.PromoteVersionRequest(**move, expected_revision=0))
        assert moved.table.revision == 1
        with pytest.raises(Conflict):
            await registry.PromoteVersion(pb.PromoteVersionRequest(**move, expected_revision=0))
        (entry,) = (await registry.ListAudit(pb.ListAuditRequest())).entries
        assert (entry.action, entry.to_version, entry.requested_by) == ("promote", "v000001", "test")


async def test_the_ledger_goes_from_the_stream_to_the_live_record(tmp_path, redis_url, market):
    fake, address = market
    redis = open_redis(redis_url, timeout_seconds=2)
    candles = fake.panel["bitcoin"]
    for row in range(len(candles) - 21, len(candles) - 1):
        entry = entry_of(candles, row, forecast_id=f"f{row}")
        await redis.xadd(STREAM_KEY, {STREAM_FIELD: entry.to_json()})
    await redis.xadd(STREAM_KEY, {STREAM_FIELD: "no entry"})
    async with running(tmp_path, redis_url, address) as (_, _, accuracy):
        for _ in range(100):
            reply = await accuracy.GetAccuracy(pb.GetAccuracyRequest(model="lightgbm", days=60))
            scored = sum(live.horizon.forecasts for live in reply.live)
            if scored == 20 and (tmp_path / "artifacts" / "live-record.json").exists():
                break
            await asyncio.sleep(0.1)
    assert reply.ledger.scored_forecasts == 20
    assert reply.ledger.lag_entries == 0
    (live,) = reply.live
    assert (live.horizon.forecasts, live.variant, live.version) == (20, "production", "v000001")
    assert (await redis.xpending(STREAM_KEY, "training"))["pending"] == 0
    await redis.aclose()
    document = json.loads((tmp_path / "artifacts" / "live-record.json").read_text())
    assert {record["id"] for record in document["records"]} == {"", "bitcoin"}
