"""gRPC servicer of training jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc.aio

from coincast.training.v1 import training_pb2 as pb
from coincast.training.v1 import training_pb2_grpc
from coincast_chassis.errors import InvalidInput
from coincast_training.domain import TRAINED_MODELS
from coincast_training.grpc.proto_mapping import job_to_pb, spec_from_pb
from coincast_training.grpc.status import StatusService
from coincast_training.jobs.service import JobService

Context = grpc.aio.ServicerContext[object, object]
MAX_JOBS, DEFAULT_JOBS = 200, 50
MAX_LINES, DEFAULT_LINES = 10_000, 1000


class TrainingServicer(training_pb2_grpc.TrainingServiceServicer):
    """Serve training jobs over gRPC."""

    def __init__(self, jobs: JobService, status: StatusService) -> None:
        self._jobs, self._status = jobs, status

    async def SubmitJob(self, request: pb.SubmitJobRequest, context: Context) -> pb.SubmitJobResponse:  # noqa: N802, D102 - the contract names it
        job = await self._jobs.submit(
            spec_from_pb(request.spec),
            requested_by=request.requested_by,
            idempotency_key=request.idempotency_key,
        )
        return pb.SubmitJobResponse(job=job_to_pb(job))

    async def GetJob(self, request: pb.GetJobRequest, context: Context) -> pb.GetJobResponse:  # noqa: N802, D102 - the contract names it
        return pb.GetJobResponse(job=job_to_pb(self._jobs.get(request.job_id)))

    async def ListJobs(self, request: pb.ListJobsRequest, context: Context) -> pb.ListJobsResponse:  # noqa: N802, D102 - the contract names it
        if request.model and request.model not in TRAINED_MODELS:
            raise InvalidInput(f"model must be one of {', '.join(TRAINED_MODELS)}, or empty.", field="model")
        limit = within(request.limit, MAX_JOBS, DEFAULT_JOBS, "limit")
        return pb.ListJobsResponse(jobs=map(job_to_pb, self._jobs.recent(model=request.model, limit=limit)))

    async def WatchJob(  # noqa: N802, D102 - the contract names it
        self, request: pb.WatchJobRequest, context: Context
    ) -> AsyncIterator[pb.WatchJobResponse]:
        async for job, lines in self._jobs.watch(request.job_id):
            yield pb.WatchJobResponse(job=job_to_pb(job), log_lines=lines)

    async def CancelJob(self, request: pb.CancelJobRequest, context: Context) -> pb.CancelJobResponse:  # noqa: N802, D102 - the contract names it
        return pb.CancelJobResponse(job=job_to_pb(await self._jobs.cancel(request.job_id)))

    async def GetJobLogs(self, request: pb.GetJobLogsRequest, context: Context) -> pb.GetJobLogsResponse:  # noqa: N802, D102 - the contract names it
        tail = within(request.tail, MAX_LINES, DEFAULT_LINES, "tail")
        return pb.GetJobLogsResponse(lines=await self._jobs.logs(request.job_id, tail))

    async def GetStatus(self, request: pb.GetStatusRequest, context: Context) -> pb.GetStatusResponse:  # noqa: N802, D102 - the contract names it
        return await self._status.status()


def within(value: int, most: int, default: int, field: str) -> int:
    """Return the value, or the default if it is 0.

    Raises:
        InvalidInput: The value is above `most`.
    """
    if value > most:
        raise InvalidInput(f"{field} must be 1 to {most}, or 0 for {default}; it is {value}.", field=field)
    return value or default
