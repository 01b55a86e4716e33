"""What Prometheus finds on the live service once it trained, checked for drift and scored its ledger."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from coincast.training.v1 import training_pb2 as pb
from coincast.training.v1 import training_pb2_grpc
from coincast_chassis.grpc.channel import open_channel
from coincast_chassis.redis import open_redis
from coincast_modelkit.candles import Panel
from coincast_modelkit.ledger import STREAM_FIELD, STREAM_KEY
from tests.contract.valkey_harness import running_valkey
from tests.integration.training_process import training_process
from tests.integration.training_rig import COINS, DAYS, first_day, spec
from tests.unit.training.training_fakes import panel_of
from tests.unit.training.training_ledger_rows import entry_of
from tests.unit.training.training_market import PanelMarket, market_service

pytestmark = pytest.mark.timeout(400)
SERVED_DAYS = 35  # of four coins: at each horizon more than the hundred forecasts that a live record takes
Labels = dict[str, str]
# A sample of each that must be there after one training, one failure, one check of drift and one scoring.
WANTED: list[tuple[str, Labels]] = [
    ("job_seconds_count", {"model": "lightgbm", "outcome": "succeeded"}),
    ("job_seconds_count", {"model": "lightgbm", "outcome": "failed"}),
    ("jobs_total", {"model": "lightgbm", "outcome": "succeeded"}),
    ("jobs_total", {"model": "lightgbm", "outcome": "failed"}),
    ("jobs_queued", {}),
    ("jobs_running", {}),
    ("last_success_timestamp_seconds", {"model": "lightgbm"}),
    ("live_skill_percent", {"model": "lightgbm", "horizon_days": "1"}),
    ("live_skill_percent", {"model": "lightgbm", "horizon_days": "7"}),
    ("live_coverage_percent", {"model": "lightgbm", "horizon_days": "1", "level_percent": "80"}),
    ("live_coverage_percent", {"model": "lightgbm", "horizon_days": "7", "level_percent": "95"}),
    ("live_coverage_error_percent", {"model": "lightgbm", "horizon_days": "7", "level_percent": "95"}),
    ("drift_score", {"model": "lightgbm", "check": "age"}),
    ("drift_score", {"model": "lightgbm", "check": "coverage"}),
    ("drift_score", {"model": "lightgbm", "check": "psi"}),
    ("drift_score", {"model": "lightgbm", "check": "ks"}),
    ("drifted", {"model": "lightgbm"}),
    ("artifact_age_seconds", {"model": "lightgbm", "alias": "production"}),
    ("ledger_stored_total", {}),
    ("ledger_scored_total", {}),
    ("ledger_refused_total", {}),
    ("ledger_lag_entries", {}),
    ("risk_lag_entries", {}),
    ("risk_lag_seconds", {}),
]


@pytest.fixture
def redis_url() -> Iterator[str]:
    with running_valkey() as server:
        yield server.url


async def served(redis_url: str, panel: Panel) -> int:
    """Forecasts of two horizons in the stream, as forecast-svc would have left them; how many."""
    redis, count = open_redis(redis_url, timeout_seconds=2), 0
    for (coin, candles), horizon in itertools.product(panel.items(), (1, 7)):
        for row in range(len(candles) - SERVED_DAYS, len(candles) - horizon):
            entry = entry_of(candles, row, horizon, forecast_id=f"{coin}-{row}-{horizon}")
            await redis.xadd(STREAM_KEY, {STREAM_FIELD: entry.to_json()})
            count += 1
    await redis.aclose()
    return count


async def scraped(http: httpx2.AsyncClient, url: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample of the service's own metrics."""
    families = text_string_to_metric_families((await http.get(url)).text)
    samples = [sample for family in families for sample in family.samples]
    prefix = "coincast_training_"
    return {
        (s.name.removeprefix(prefix), frozenset(s.labels.items())): s.value
        for s in samples
        if s.name.startswith(prefix)
    }


async def finished(jobs: training_pb2_grpc.TrainingServiceAsyncStub, **changes: object) -> pb.Job:
    for _ in range(200):
        try:
            reply = await jobs.SubmitJob(pb.SubmitJobRequest(spec=spec(**changes), requested_by="test"))
            break
        except Exception as error:  # the queue is still loading
            if "not loaded" not in str(error):
                raise
            await asyncio.sleep(0.1)
    async for seen in jobs.WatchJob(pb.WatchJobRequest(job_id=reply.job.job_id)):
        job = seen.job
    return job


async def test_every_documented_figure_is_exported(tmp_path: Path, redis_url: str) -> None:
    panel = panel_of(COINS, days=DAYS, first=first_day())
    market = PanelMarket({coin: candles.rows(0, DAYS - 1) for coin, candles in panel.items()})
    count = await served(redis_url, panel)
    options: dict[str, Any] = {
        "scoring_seconds": 2,
        "drift_check_seconds": 3,
        "drift_min_forecasts": 10,
        "drift_budget_per_week": 0,
    }
    async with (
        market_service(market) as market_address,
        training_process(tmp_path, redis_url, market_address, **options) as service,
        open_channel(service.address, service="coincast.training.v1.TrainingService") as channel,
        httpx2.AsyncClient(timeout=30, trust_env=False) as http,
    ):
        jobs = training_pb2_grpc.TrainingServiceStub(channel)
        done = await finished(jobs, days=400)
        logs = await jobs.GetJobLogs(pb.GetJobLogsRequest(job_id=done.job_id))
        assert done.state == pb.JOB_STATE_SUCCEEDED, (done.error, list(logs.lines))
        assert (await finished(jobs, ids=["no-such-coin"])).state == pb.JOB_STATE_FAILED
        market.panel = panel  # a day on: drift looks at what came after the training
        move = pb.PromoteVersionRequest(
            model="lightgbm", version=done.version, force=True, reason="a test", requested_by="test"
        )
        await training_pb2_grpc.RegistryServiceStub(channel).PromoteVersion(move)
        wanted = {(name, frozenset(labels.items())) for name, labels in WANTED}
        for _ in range(600):
            found = await scraped(http, service.metrics_url)
            if not (missing := wanted - found.keys()) and found["ledger_scored_total", frozenset()] == count:
                break
            await asyncio.sleep(0.2)
    assert not missing
    value = {(name, *sorted(labels)): figure for (name, labels), figure in found.items()}
    assert value["ledger_stored_total",] == value["ledger_scored_total",] == count
    succeeded = (("model", "lightgbm"), ("outcome", "succeeded"))
    assert value["jobs_total", *succeeded] == value["job_seconds_count", *succeeded] == 1
    assert value["job_seconds_sum", *succeeded] > 0
    assert value["last_success_timestamp_seconds", ("model", "lightgbm")] == pytest.approx(
        done.finished_at.seconds, abs=1.5
    )
    assert 0 < value["artifact_age_seconds", ("alias", "production"), ("model", "lightgbm")] < 400
    coverage = value[
        "live_coverage_percent", ("horizon_days", "1"), ("level_percent", "80"), ("model", "lightgbm")
    ]
    assert 50 < coverage <= 100
