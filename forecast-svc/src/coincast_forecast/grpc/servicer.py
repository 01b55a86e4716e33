"""The gRPC servicer: convert the request, await the service, convert the reply."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from coincast.forecast.v1 import forecast_pb2 as pb
from coincast.forecast.v1.forecast_pb2_grpc import ForecastServiceServicer
from coincast_chassis.clock import Clock
from coincast_forecast.grpc import hourly_mapping, live_risk_mapping, proto_mapping
from coincast_forecast.grpc import scenario_mapping as mapping
from coincast_forecast.grpc.status import StatusReporter
from coincast_forecast.hourly.past import PastHourlyForecasts
from coincast_forecast.hourly.service import HourlyForecastService
from coincast_forecast.point_in_time import PointInTimeService
from coincast_forecast.registry.live_records import LatestRecord
from coincast_forecast.scenarios.recorder import RiskRecorder
from coincast_forecast.scenarios.service import ScenarioService
from coincast_forecast.service import ForecastService
from coincast_modelkit.scenarios.live_record import LiveRiskTable

Context = grpc.aio.ServicerContext[Any, Any]


class ForecastServicer(ForecastServiceServicer):
    """ForecastService over gRPC."""

    def __init__(
        self,
        forecasting: ForecastService,
        scenarios: ScenarioService,
        *,
        risk_recorder: RiskRecorder,
        live_risk: LatestRecord[LiveRiskTable],
        hourly: HourlyForecastService,
        past: PointInTimeService,
        past_hours: PastHourlyForecasts,
        status: StatusReporter,
        clock: Clock,
    ) -> None:
        self._forecasting = forecasting
        self._scenarios = scenarios
        self._risk_recorder = risk_recorder
        self._live_risk = live_risk
        self._hourly = hourly
        self._past = past
        self._past_hours = past_hours
        self._status = status
        self._clock = clock
        self._encoder = proto_mapping.ReplyEncoder()

    async def GetForecasts(  # noqa: N802 - gRPC's name
        self, request: pb.GetForecastsRequest, context: Context
    ) -> pb.GetForecastsResponse:
        """Return daily or hourly forecasts of up to 250 coins, from now or from a past time."""
        if request.hours:
            hourly = hourly_mapping.hourly_query_of(request)
            if hourly.as_of is not None:
                answer = await self._past_hours.forecast(hourly, hourly.as_of)
            else:
                answer = await self._hourly.forecast(hourly)
            return self._encoder.encode(answer, self._clock)
        query = proto_mapping.query_of(request)
        if query.as_of is not None:
            reply = await self._past.forecast(query, query.as_of)
        else:
            reply = await self._forecasting.forecast(query)
        return self._encoder.encode(reply, self._clock)

    async def ListModels(  # noqa: N802 - gRPC's name
        self, request: pb.ListModelsRequest, context: Context
    ) -> pb.ListModelsResponse:
        """Return the models that can be requested."""
        return proto_mapping.models_message(self._status.models())

    async def SimulatePaths(  # noqa: N802 - gRPC's name
        self, request: pb.SimulatePathsRequest, context: Context
    ) -> AsyncIterator[pb.SimulatePathsResponse]:
        """Stream joint price paths: first their basis, then each coin."""
        days, paths = mapping.parse_days(request.days), mapping.parse_paths(request.paths)
        simulation = await self._scenarios.simulate(
            proto_mapping.parse_ids(request.ids),
            vs_currency=proto_mapping.parse_currency(request.vs_currency),
            model=proto_mapping.parse_model(request.model),
            as_of=mapping.parse_as_of(request),
        )
        for message in mapping.path_messages(simulation, days=days, paths=paths, clock=self._clock):
            yield message
            # To build a message takes milliseconds, so other requests get a turn between messages.
            await asyncio.sleep(0)

    async def AssessPortfolio(  # noqa: N802 - gRPC's name
        self, request: pb.AssessPortfolioRequest, context: Context
    ) -> pb.AssessPortfolioResponse:
        """Return the loss distribution of a portfolio.

        That of a past moment is not logged, and has no live record, since its outcomes came later.
        """
        vs_currency = proto_mapping.parse_currency(request.vs_currency)
        answer = await self._scenarios.assess(
            mapping.parse_holdings(request.holdings),
            days=mapping.parse_days(request.days),
            levels_percent=mapping.parse_levels(request.levels_percent),
            vs_currency=vs_currency,
            model=proto_mapping.parse_model(request.model),
            as_of=mapping.parse_as_of(request),
        )
        message = mapping.portfolio_message(answer, vs_currency=vs_currency, clock=self._clock)
        if answer.simulation.basis.reconstructed:
            return message
        recorded = await self._risk_recorder.record_losses(answer, vs_currency=vs_currency)
        live_risk_mapping.add_live_losses(message, answer, self._live_risk.current, recorded=recorded)
        return message

    async def EstimateTouch(  # noqa: N802 - gRPC's name
        self, request: pb.EstimateTouchRequest, context: Context
    ) -> pb.EstimateTouchResponse:
        """Return the probabilities that prices touch levels by each of the coming days.

        Those of a past moment are not logged, and have no live record, since its outcomes came later.
        """
        days, levels = mapping.parse_days(request.days), mapping.parse_touch_levels(request.levels)
        vs_currency = proto_mapping.parse_currency(request.vs_currency)
        answer = await self._scenarios.touch(
            mapping.parse_touch_ids(request.ids),
            levels,
            vs_currency=vs_currency,
            model=proto_mapping.parse_model(request.model),
            as_of=mapping.parse_as_of(request),
        )
        message = mapping.touch_message(answer, days=days, clock=self._clock)
        if answer.simulation.basis.reconstructed:
            return message
        recorded = await self._risk_recorder.record_touch(answer, vs_currency=vs_currency, days=days)
        live_risk_mapping.add_live_touches(
            message, answer, self._live_risk.current, days=days, recorded=recorded
        )
        return message

    async def GetStatus(  # noqa: N802 - gRPC's name
        self, request: pb.GetStatusRequest, context: Context
    ) -> pb.GetStatusResponse:
        """Return loaded and refused versions, and the state of caches and forecast log."""
        return proto_mapping.status_message(self._status.status())
