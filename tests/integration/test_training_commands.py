"""The command and the line of Python, really run: train, retrain, backtest, evaluate, jobs; no TensorFlow."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coincast.training.v1 import training_pb2 as pb
from coincast.training.v1 import training_pb2_grpc
from coincast_chassis.errors import InvalidInput, NotReady, Unavailable
from coincast_chassis.grpc.channel import open_channel
from coincast_modelkit.features import market_of
from coincast_modelkit.model_input import prepare
from coincast_training.api import train_model_for_crypto
from tests.contract.valkey_harness import running_valkey
from tests.integration.training_process import environment_without, training_process
from tests.integration.training_rig import COINS, DAYS, first_day, settings_in, training_service
from tests.unit.training.training_fakes import panel_of
from tests.unit.training.training_market import PanelMarket, market_service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
PANEL = panel_of(COINS, days=DAYS, first=first_day())
MAIN = "from coincast_training.cli.main import app; app()"


@pytest.fixture
async def market() -> AsyncIterator[str]:
    async with market_service(PanelMarket(PANEL)) as address:
        yield address


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)


async def command(*words: object, environment: dict[str, str] | None = None) -> Ended:
    """`coincast-training WORDS` as a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        MAIN,
        *map(str, words),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return Ended(process.returncode or 0, out.decode(), err.decode())


def files_of(folder: Path) -> dict[str, bytes]:
    """What a version holds, but for the manifest and its seal, which name the version and the time."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if "manifest" not in path.name}


async def test_train_and_retrain_give_the_same_bytes_and_a_backtest_its_report(
    tmp_path: Path, market: str
) -> None:
    where = ("--market", market, "--artifacts", tmp_path / "artifacts", "--json")
    first = (await command("train", "--ids", "bitcoin,ethereum", "--days", 150, *where)).document
    assert (first["version"], first["promoted"], first["model"]) == ("v000001", False, "lightgbm")
    assert first["record"]["horizons"][0]["forecasts"] > 40
    again = (await command("retrain", "--from", "v000001", *where)).document
    assert again["version"] == "v000002"
    made = [files_of(tmp_path / "artifacts" / "lightgbm" / version) for version in ("v000001", "v000002")]
    assert made[0] == made[1]
    assert len(made[0]) >= 4
    report = tmp_path / "deep" / "backtest.html"
    options = ("--days", 420, "--test-days", 60, "--refit-days", 60, "--report", report)
    tested = await command("backtest", "--ids", "bitcoin", *options, "--market", market, "--json")
    found = tested.document
    assert set(found["strategies"]) >= {"buy and hold", "direction of the median"}
    assert [row["horizon_days"] for row in found["decay"]] == [1, 7, 14, 30]
    assert all(row["in_sample_crps_skill_percent"] is not None for row in found["decay"][:2])
    assert "Drawdown" in report.read_text()


async def test_jobs_of_a_running_service(tmp_path: Path, market: str) -> None:
    with running_valkey() as server:
        url = server.url
        async with training_service(tmp_path, url, market) as address:
            where = ("--target", address, "--json")
            done = await command("jobs", "submit", "--ids", "bitcoin", "--days", 150, "--wait", *where)
            job = done.document
            assert (job["state"], job["version"], job["requested_by"]) == ("succeeded", "v000001", "cli")
            assert [each["job_id"] for each in (await command("jobs", "list", *where)).document] == [
                job["job_id"]
            ]
            failed = await command("jobs", "submit", "--ids", "no-such-coin", "--wait", *where)
            assert (failed.code, json.loads(failed.out)["state"]) == (1, "failed")
            missing = await command("jobs", "show", "nothing", *where)
            assert (missing.code, "There is no job" in missing.err) == (3, True)
    gone = await command("jobs", "list", *where)
    assert (gone.code, "Traceback" in gone.err) == (7, False)


async def test_evaluate_writes_its_reports_and_names_what_is_wrong(tmp_path: Path) -> None:
    for coin in COINS[:2]:
        candles = PANEL[coin]
        rows = zip(
            candles.dates, candles.open, candles.high, candles.low, candles.close, candles.volume, strict=True
        )
        lines = [",".join(map(str, row)) for row in rows]
        (tmp_path / f"{coin}.csv").write_text(
            "\n".join(["date,open,high,low,close,volume_usd", *lines]) + "\n"
        )
    last = PANEL["bitcoin"].dates[-1]
    span = ("--from", last - np.timedelta64(60, "D"), "--models", "technical", "--jobs", 1)
    done = await command("evaluate", "--data", tmp_path, "--out", tmp_path / "out", *span, "--json")
    assert done.document == json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert sorted(done.document["about"]["coins"]) == sorted(COINS[:2])
    assert "technical" in done.document["against"]["1"]
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {
        "evaluation.json",
        "evaluation.html",
        "predictions.parquet",
    }
    wrong = await command("evaluate", "--data", tmp_path, "--coins", "dogecoin")
    assert (wrong.code, "dogecoin not found; available:" in wrong.err) == (2, True)


async def test_a_line_of_python_trains_saves_and_forecasts(tmp_path: Path, market: str) -> None:
    settings = settings_in(tmp_path, "redis://127.0.0.1:1/0", market)
    tried = await train_model_for_crypto("bitcoin", days=150, save_model=False, settings=settings)
    assert (tried.version, (tmp_path / "artifacts" / "lightgbm" / "v000001").exists()) == ("", False)
    trained = await train_model_for_crypto(
        crypto_id="bitcoin", model_type="lightgbm", days=150, save_model=True, settings=settings
    )
    assert (trained.version, trained.coins, trained.model_type) == ("v000001", ("bitcoin",), "lightgbm")
    assert (tmp_path / "artifacts" / "lightgbm" / "v000001" / "manifest.json").exists()
    assert "did not request" in trained.promotion
    ready = prepare(PANEL["bitcoin"], market_of(PANEL), trained.model.spec)
    forecast = trained.model.predict([ready], [1, 7])
    assert np.isfinite(forecast.log_return_quantiles).all()
    assert trained.record.horizons[0].coverage_80_percent is not None
    with pytest.raises(InvalidInput) as refused:
        await train_model_for_crypto("bitcoin", days=20, settings=settings)
    assert refused.value.field == "days"
    away = settings.model_copy(update={"market_target": "127.0.0.1:1", "history_attempts": 1})
    with pytest.raises(Unavailable):
        await train_model_for_crypto("bitcoin", days=150, settings=away)


@asynccontextmanager
async def service_without_tensorflow(folder: Path, market: str) -> AsyncIterator[Any]:
    """A channel to a service whose process, and those of its jobs, cannot import TensorFlow."""
    with running_valkey() as server:
        url = server.url
        async with (
            training_process(folder, url, market, without=("tensorflow", "keras")) as service,
            open_channel(service.address, service="coincast.training.v1.TrainingService") as channel,
        ):
            yield training_pb2_grpc.TrainingServiceStub(channel)


async def test_without_tensorflow_the_lstm_is_refused_with_the_fix_and_the_rest_trains(
    tmp_path: Path, market: str
) -> None:
    environment = environment_without(tmp_path / "without", "tensorflow", "keras")
    requested = ("--ids", "bitcoin", "--days", 150, "--market", market, "--artifacts", tmp_path / "own")
    by_hand = await command("train", "--model", "lstm", *requested, environment=environment)
    assert (by_hand.code, "Traceback" in by_hand.err) == (4, False)
    assert "coincast-training[lstm]" in by_hand.err
    async with service_without_tensorflow(tmp_path, market) as jobs:
        status = await jobs.GetStatus(pb.GetStatusRequest())
        assert list(status.trainable_models) == ["lightgbm", "ml_ensemble"]
        spec = pb.TrainingSpec(model="lstm", ids=["bitcoin"], days=150)
        with pytest.raises(NotReady, match="TensorFlow, which is not installed") as refused:
            await jobs.SubmitJob(pb.SubmitJobRequest(spec=spec))
        assert refused.value.field == "model"
        assert not (await jobs.ListJobs(pb.ListJobsRequest())).jobs
        spec.model = "lightgbm"
        job = (await jobs.SubmitJob(pb.SubmitJobRequest(spec=spec))).job
        async for seen in jobs.WatchJob(pb.WatchJobRequest(job_id=job.job_id)):
            job = seen.job
        assert job.state == pb.JOB_STATE_SUCCEEDED, job
