"""Client of forecast-svc."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc.aio

from coincast.common.v1 import process_pb2
from coincast.common.v1 import process_pb2_grpc as process_rpc
from coincast.forecast.v1 import forecast_pb2 as pb
from coincast.forecast.v1 import forecast_pb2_grpc as rpc
from coincast_gateway.clients.resilient import ResilientStub

SERVICE = "coincast.forecast.v1.ForecastService"


class ForecastClient:
    """Client of forecast-svc; each method is one call."""

    def __init__(self, channel: grpc.aio.Channel, backend: ResilientStub) -> None:
        self._stub: rpc.ForecastServiceAsyncStub = rpc.ForecastServiceStub(channel)
        self._process: process_rpc.ProcessServiceAsyncStub = process_rpc.ProcessServiceStub(channel)
        self.backend = backend

    async def forecasts(self, request: pb.GetForecastsRequest) -> pb.GetForecastsResponse:
        """Fetch forecasts of many coins."""
        return await self.backend.call(self._stub.GetForecasts, request)

    async def touch(self, request: pb.EstimateTouchRequest) -> pb.EstimateTouchResponse:
        """Fetch the probabilities that prices touch given levels."""
        return await self.backend.call(self._stub.EstimateTouch, request)

    async def portfolio(self, request: pb.AssessPortfolioRequest) -> pb.AssessPortfolioResponse:
        """Fetch the loss distribution of holdings."""
        return await self.backend.call(self._stub.AssessPortfolio, request)

    def paths(self, request: pb.SimulatePathsRequest) -> AsyncIterator[pb.SimulatePathsResponse]:
        """Stream joint price paths: their basis first, then each coin."""
        return self.backend.watch(self._stub.SimulatePaths, request)

    async def models(self, deadline_seconds: float | None = None) -> pb.ListModelsResponse:
        """List the models that can be requested."""
        return await self.backend.call(
            self._stub.ListModels, pb.ListModelsRequest(), deadline_seconds=deadline_seconds
        )

    async def status(self, deadline_seconds: float) -> pb.GetStatusResponse:
        """Fetch the loaded models, and the refused ones with the reasons."""
        return await self.backend.probe(
            self._stub.GetStatus, pb.GetStatusRequest(), deadline_seconds=deadline_seconds
        )

    async def process(self, deadline_seconds: float) -> process_pb2.GetProcessResponse:
        """Fetch the resource use of the service's process."""
        request = process_pb2.GetProcessRequest()
        return await self.backend.probe(self._process.GetProcess, request, deadline_seconds=deadline_seconds)
