"""The newest training job of a model, polled over gRPC, for the progress line."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType

import grpc

from coincast.training.v1 import training_pb2 as pb
from coincast.training.v1 import training_pb2_grpc as rpc
from coincast_stack.status.channel import open_status_channel

ENDED_BADLY = {pb.JOB_STATE_FAILED, pb.JOB_STATE_CANCELLED, pb.JOB_STATE_INTERRUPTED}


@dataclass(frozen=True, slots=True)
class JobView:
    """A training job for the progress line; `progress` is 0 to 1."""

    progress: float
    stage: str
    failed: bool
    error: str


class TrainingWatch:
    """Polls the newest job of each model."""

    def __init__(self, target: str) -> None:
        self._channel = open_status_channel(target)
        self._stub = rpc.TrainingServiceStub(self._channel)

    async def __aenter__(self) -> TrainingWatch:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def newest(self, model: str) -> JobView | None:
        """Return the model's newest job; None if there is none or the service does not answer yet."""
        try:
            reply = await self._stub.ListJobs(pb.ListJobsRequest(limit=1, model=model), timeout=2.0)
        except grpc.aio.AioRpcError:
            return None
        if not reply.jobs:
            return None
        job = reply.jobs[0]
        return JobView(
            progress=job.progress, stage=job.stage, failed=job.state in ENDED_BADLY, error=job.error
        )
