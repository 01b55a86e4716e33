"""The gRPC servicer: convert the request, await the service, convert the reply."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc.aio

from coincast.forecast.v1 import forecast_pb2 as pb
from coincast.forecast.v1.forecast_pb2_grpc import ForecastServiceServicer
from coincast_chassis.clock import Clock
from coincast_forecast.domain import ModelStatus, ServiceStatus
from coincast_forecast.grpc import proto_mapping
from coincast_forecast.service import ForecastService

Context = grpc.aio.ServicerContext[Any, Any]


class ForecastServicer(ForecastServiceServicer):
    """ForecastService over gRPC."""

    def __init__(
        self,
        forecasting: ForecastService,
        models: Callable[[], tuple[ModelStatus, ...]],
        status: Callable[[], ServiceStatus],
        clock: Clock,
    ) -> None:
        self._forecasting = forecasting
        self._models = models
        self._status = status
        self._clock = clock
        self._encoder = proto_mapping.ReplyEncoder()

    async def GetForecasts(  # noqa: N802 - gRPC's name
        self, request: pb.GetForecastsRequest, context: Context
    ) -> pb.GetForecastsResponse:
        """Return forecasts of up to 250 coins."""
        reply = await self._forecasting.forecast(proto_mapping.query_of(request))
        return self._encoder.encode(reply, self._clock)

    async def ListModels(  # noqa: N802 - gRPC's name
        self, request: pb.ListModelsRequest, context: Context
    ) -> pb.ListModelsResponse:
        """Return the models that can be asked for."""
        return proto_mapping.models_message(self._models())

    async def GetStatus(  # noqa: N802 - gRPC's name
        self, request: pb.GetStatusRequest, context: Context
    ) -> pb.GetStatusResponse:
        """Return loaded and refused versions, and the state of caches and forecast log."""
        return proto_mapping.status_message(self._status())
