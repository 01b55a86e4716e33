"""forecast-svc as the gateway's tests need it."""

from __future__ import annotations

from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from coincast.common.v1 import common_pb2 as common
from coincast.forecast.v1 import forecast_pb2 as fc
from coincast.forecast.v1 import forecast_pb2_grpc as fc_rpc
from tests.contract.gateway.fake_script import AS_OF, COINS, Script, provenance


def forecast_of(coin_id: str, request: fc.GetForecastsRequest) -> fc.Forecast:
    levels = list(request.levels_percent) or [80.0, 95.0]
    points = [
        fc.ForecastPoint(
            date=f"2023-11-{14 + day:02d}" if day < 16 else "2023-12-01",
            horizon_days=day,
            price=37_000.0,
            intervals=[
                fc.Interval(level_percent=lv, lower=37_000 - 10 * lv, upper=37_000 + 10 * lv) for lv in levels
            ],
            quantiles=[
                fc.Quantile(probability=p, price=36_000 + 1000 * p) for p in request.quantile_probabilities
            ],
            probability_of_rise=0.5,
            volatility=fc.VolatilityOutlook(annualised_percent=50.0),
        )
        for day in range(1, (request.days or 7) + 1)
    ]
    horizons = [fc.HorizonRecord(horizon_days=7, forecasts=100, mase=0.9, crps_skill_percent=3.0)]
    return fc.Forecast(
        id=coin_id,
        vs_currency=request.vs_currency or "usd",
        as_of=Timestamp(seconds=AS_OF),
        last_price=37_000.0,
        model=request.model or "auto",
        version="v000001",
        served_by="lightgbm",
        provenance=provenance(),
        points=points,
        record=fc.Record(measured_at=Timestamp(seconds=AS_OF), test_coins="bitcoin", horizons=horizons),
        attributions=[
            fc.Attribution(feature="rv_30", value=0.5, contribution=0.1, output="volatility", horizon_days=7)
        ][: request.attribution_features],
        variant="production",
        forecast_id="f1",
    )


class FakeForecast(fc_rpc.ForecastServiceServicer):
    def __init__(self) -> None:
        self.script = Script()
        self.ready = True
        self.challenger_share = 0.0

    async def GetForecasts(self, request: fc.GetForecastsRequest, context: Any) -> fc.GetForecastsResponse:
        await self.script.play(request)
        errors = [
            common.ItemError(
                id=i,
                kind=common.ERROR_KIND_NOT_FOUND,
                message=f"No coin has the id {i}.",
                field="ids",
                suggestions=["bitcoin"],
            )
            for i in request.ids
            if i not in COINS
        ]
        return fc.GetForecastsResponse(
            forecasts=[forecast_of(i, request) for i in request.ids if i in COINS], errors=errors
        )

    async def ListModels(self, request: Any, context: Any) -> fc.ListModelsResponse:
        await self.script.play(request)
        variants = [fc.Variant(alias="production", version="v000001", share=1 - self.challenger_share)]
        if self.challenger_share:
            variants.append(fc.Variant(alias="challenger", version="v000002", share=self.challenger_share))
        model = fc.Model(
            name="lightgbm",
            description="Trees.",
            ready=self.ready,
            reason="" if self.ready else "No artifact.",
            version="v000001",
            created_at=Timestamp(seconds=AS_OF),
            max_horizon_days=30,
            min_history_days=90,
            variants=variants,
        )
        return fc.ListModelsResponse(models=[model])

    async def GetStatus(self, request: Any, context: Any) -> fc.GetStatusResponse:
        await self.script.play(request)
        return fc.GetStatusResponse(version="1", uptime_seconds=2, market_data_up=True)
