"""training-svc as the gateway's tests need it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from coincast.forecast.v1 import forecast_pb2 as fc
from coincast.training.v1 import training_pb2 as tr
from coincast.training.v1 import training_pb2_grpc as tr_rpc
from coincast_chassis.errors import CoincastError, Conflict, InvalidInput, NotFound
from tests.contract.gateway.fake_script import AS_OF, Script

VERSION = tr.ModelVersion(
    model="lightgbm", version="v000001", created_at=Timestamp(seconds=AS_OF), coins=["bitcoin"]
)
TABLE = tr.AliasTable(model="lightgbm", revision=3, production_version="v000001")


class FakeTraining(
    tr_rpc.TrainingServiceServicer, tr_rpc.RegistryServiceServicer, tr_rpc.AccuracyServiceServicer
):
    def __init__(self) -> None:
        self.script = Script()
        self.jobs: dict[str, tr.Job] = {}
        # What a watched job becomes; None ends a watch after its first word.
        self.pushes: asyncio.Queue[tr.Job | CoincastError] | None = None
        # What the forecast log holds; None for three entries of bitcoin.
        self.logged: list[tr.LoggedForecast] | None = None

    async def StreamForecastLog(self, request: tr.StreamForecastLogRequest, context: Any) -> Any:
        await self.script.play(request)
        if self.logged is not None:
            # As the service: an empty log sends nothing at all.
            if self.logged:
                yield tr.StreamForecastLogResponse(forecasts=self.logged)
            return
        count = min(request.limit or 3, 3)
        logged = [
            tr.LoggedForecast(
                forecast_id=f"f{number}", id="bitcoin", vs_currency="usd", model="lightgbm",
                version="v000001", as_of=Timestamp(seconds=1_700_000_000), horizon_days=7,
                last_price=36_000.0, median=36_000.0, outcome=36_500.0, crps=0.02,
            )
            for number in range(count)
        ]  # fmt: skip
        yield tr.StreamForecastLogResponse(forecasts=logged)

    async def GetStatus(self, request: Any, context: Any) -> tr.GetStatusResponse:
        await self.script.play(request)
        return tr.GetStatusResponse(version="1", uptime_seconds=1, redis_up=True)

    async def SubmitJob(self, request: tr.SubmitJobRequest, context: Any) -> tr.SubmitJobResponse:
        await self.script.play(request)
        # As the service: the same key gives the same id, whatever characters the key has.
        key = request.idempotency_key
        job_id = f"job-{hashlib.sha256(key.encode()).hexdigest()[:16] if key else len(self.jobs)}"
        job = self.jobs.setdefault(
            job_id, tr.Job(job_id=job_id, spec=request.spec, state=tr.JOB_STATE_QUEUED)
        )
        if job.spec != request.spec:
            raise InvalidInput("The idempotency key belongs to another job.", field="idempotency_key")
        job.requested_by = request.requested_by
        return tr.SubmitJobResponse(job=job)

    def _job(self, job_id: str) -> tr.Job:
        if job_id not in self.jobs:
            raise NotFound(f"No job has the id {job_id}.", field="job_id")
        return self.jobs[job_id]

    async def GetJob(self, request: tr.GetJobRequest, context: Any) -> tr.GetJobResponse:
        await self.script.play(request)
        return tr.GetJobResponse(job=self._job(request.job_id))

    async def ListJobs(self, request: tr.ListJobsRequest, context: Any) -> tr.ListJobsResponse:
        await self.script.play(request)
        return tr.ListJobsResponse(jobs=list(self.jobs.values())[: request.limit])

    async def WatchJob(self, request: tr.WatchJobRequest, context: Any) -> AsyncIterator[tr.WatchJobResponse]:
        """Yield the current job, then each push; the stream ends with the job, or if no push comes."""
        await self.script.play(request)
        job = tr.Job()
        job.CopyFrom(self._job(request.job_id))
        yield tr.WatchJobResponse(job=job)
        while job.state in (tr.JOB_STATE_QUEUED, tr.JOB_STATE_RUNNING) and self.pushes is not None:
            pushed = await self.pushes.get()
            if isinstance(pushed, CoincastError):
                raise pushed
            job.MergeFrom(pushed)
            yield tr.WatchJobResponse(job=job)

    async def CancelJob(self, request: tr.CancelJobRequest, context: Any) -> tr.CancelJobResponse:
        await self.script.play(request)
        self._job(request.job_id).state = tr.JOB_STATE_CANCELLED
        return tr.CancelJobResponse(job=self._job(request.job_id))

    async def GetJobLogs(self, request: tr.GetJobLogsRequest, context: Any) -> tr.GetJobLogsResponse:
        await self.script.play(request)
        self._job(request.job_id)
        return tr.GetJobLogsResponse(lines=["fitting"][: request.tail])

    async def ListVersions(self, request: tr.ListVersionsRequest, context: Any) -> tr.ListVersionsResponse:
        await self.script.play(request)
        return tr.ListVersionsResponse(versions=[VERSION], tables=[TABLE])

    async def CompareVersions(
        self, request: tr.CompareVersionsRequest, context: Any
    ) -> tr.CompareVersionsResponse:
        await self.script.play(request)
        for version in (request.version_a, request.version_b):
            if version != VERSION.version:
                raise NotFound(f"{request.model} has no version {version}.", field="a")
        test = tr.PairedTest(horizon_days=7, loss="crps", forecasts=10, p_value=0.5)
        return tr.CompareVersionsResponse(
            a=VERSION,
            b=VERSION,
            tests=[test],
            verdict="The difference between them is not significant at 5 %.",
        )

    async def PromoteVersion(
        self, request: tr.PromoteVersionRequest, context: Any
    ) -> tr.PromoteVersionResponse:
        await self.script.play(request)
        if request.HasField("expected_revision") and request.expected_revision != TABLE.revision:
            raise Conflict("The aliases moved to revision 3.", field="expected_revision")
        return tr.PromoteVersionResponse(table=TABLE, verdict="Better.")

    async def RollbackModel(self, request: tr.RollbackModelRequest, context: Any) -> tr.RollbackModelResponse:
        await self.script.play(request)
        return tr.RollbackModelResponse(table=TABLE)

    async def RetireVersion(self, request: tr.RetireVersionRequest, context: Any) -> tr.RetireVersionResponse:
        await self.script.play(request)
        if request.version == TABLE.production_version:
            raise Conflict(f"{request.model} {request.version} is production.", field="version")
        return tr.RetireVersionResponse(version=VERSION)

    async def CleanVersions(self, request: tr.CleanVersionsRequest, context: Any) -> tr.CleanVersionsResponse:
        await self.script.play(request)
        return tr.CleanVersionsResponse(removed=["v000000"], table=TABLE)

    async def ListAudit(self, request: tr.ListAuditRequest, context: Any) -> tr.ListAuditResponse:
        await self.script.play(request)
        entry = tr.AuditEntry(
            at=Timestamp(seconds=AS_OF), model="lightgbm", action="promote", to_version="v000001"
        )
        return tr.ListAuditResponse(entries=[entry])

    async def GetAccuracy(self, request: tr.GetAccuracyRequest, context: Any) -> tr.GetAccuracyResponse:
        await self.script.play(request)
        horizon = fc.HorizonRecord(horizon_days=7, forecasts=12, mase=0.95, coverage_80_percent=float("nan"))
        live = tr.LiveRecord(
            model="lightgbm", version="v000001", id="bitcoin", variant="production", horizon=horizon
        )
        hour = fc.HorizonRecord(horizon_hours=6, forecasts=40, coverage_80_percent=77.5)
        origin = tr.LiveRecord(
            model="intraday", version="v000001", variant="production", horizon=hour, origin_hour=13
        )
        touched = fc.LiveRiskRecord(
            kind="touch", horizon_days=7, probability_from=0.0, probability_to=1.0, statements=1204,
            promised_percent=80.2, observed_percent=79.0, standard_error_percent=5.1,
            independent_periods=12, from_date="2023-08-01", to_date="2023-11-06",
        )  # fmt: skip
        return tr.GetAccuracyResponse(
            live=[live] if request.id in ("", "bitcoin") else [],
            by_origin_hour=[origin],
            risk=[touched],
            ledger=tr.LedgerStatus(stored_forecasts=12, scored_forecasts=12),
        )
