"""The gRPC face: convert, await, convert."""

from collections.abc import Callable
from typing import Any

import grpc.aio

from coincast.forecast.v1 import forecast_pb2 as pb
from coincast.forecast.v1.forecast_pb2_grpc import ForecastServiceServicer
from coincast_forecast.domain import ModelStatus, ServiceStatus
from coincast_forecast.grpc import proto_mapping
from coincast_forecast.service import ForecastService

Context = grpc.aio.ServicerContext[Any, Any]


class ForecastServicer(ForecastServiceServicer):
    """ForecastService over one ForecastService."""

    def __init__(
        self,
        forecasting: ForecastService,
        models: Callable[[], tuple[ModelStatus, ...]],
        status: Callable[[], ServiceStatus],
        now: Callable[[], float],
    ) -> None:
        self._forecasting = forecasting
        self._models = models
        self._status = status
        self._now = now
        self._encoder = proto_mapping.ReplyEncoder()

    async def GetForecasts(  # noqa: N802 - gRPC's name
        self, request: pb.GetForecastsRequest, context: Context
    ) -> pb.GetForecastsResponse:
        """Forecasts of up to 250 coins."""
        reply = await self._forecasting.forecast(proto_mapping.query_of(request))
        return self._encoder.reply(reply, self._now())

    async def ListModels(  # noqa: N802 - gRPC's name
        self, request: pb.ListModelsRequest, context: Context
    ) -> pb.ListModelsResponse:
        """What can be asked for."""
        return proto_mapping.models_message(self._models())

    async def GetStatus(  # noqa: N802 - gRPC's name
        self, request: pb.GetStatusRequest, context: Context
    ) -> pb.GetStatusResponse:
        """How the service does."""
        return proto_mapping.status_message(self._status())
