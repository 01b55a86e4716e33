"""Client of training-svc: training jobs, model registry and live accuracy."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc.aio

from coincast.common.v1 import process_pb2
from coincast.common.v1 import process_pb2_grpc as process_rpc
from coincast.training.v1 import training_pb2 as pb
from coincast.training.v1 import training_pb2_grpc as rpc
from coincast_gateway.clients.resilient import ResilientStub

SERVICE = "coincast.training.v1.TrainingService"


class TrainingClient:
    """The three gRPC services of training-svc behind one breaker, since one process serves them all."""

    def __init__(self, channel: grpc.aio.Channel, backend: ResilientStub) -> None:
        self.jobs: rpc.TrainingServiceAsyncStub = rpc.TrainingServiceStub(channel)
        self.registry: rpc.RegistryServiceAsyncStub = rpc.RegistryServiceStub(channel)
        self.record: rpc.AccuracyServiceAsyncStub = rpc.AccuracyServiceStub(channel)
        self._process: process_rpc.ProcessServiceAsyncStub = process_rpc.ProcessServiceStub(channel)
        self.backend = backend

    async def status(self, deadline_seconds: float) -> pb.GetStatusResponse:
        """Fetch the state of queue, schedule, drift, worker and forecast log."""
        return await self.backend.probe(
            self.jobs.GetStatus, pb.GetStatusRequest(), deadline_seconds=deadline_seconds
        )

    async def forecast_log(
        self, request: pb.StreamForecastLogRequest
    ) -> AsyncIterator[pb.StreamForecastLogResponse]:
        """Yield the forecast log in chunks, within the deadline of a call."""
        async for chunk in self.record.StreamForecastLog(request, timeout=self.backend.deadline_seconds):
            yield chunk

    def forecast_log_stream(
        self, request: pb.StreamForecastLogRequest
    ) -> AsyncIterator[pb.StreamForecastLogResponse]:
        """Stream the forecast log without a deadline, for exports."""
        return self.backend.watch(self.record.StreamForecastLog, request)

    async def process(self, deadline_seconds: float) -> process_pb2.GetProcessResponse:
        """Fetch the resource use of the service's process."""
        request = process_pb2.GetProcessRequest()
        return await self.backend.probe(self._process.GetProcess, request, deadline_seconds=deadline_seconds)
