"""forecast-svc as the gateway's tests need it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from coincast.common.v1 import common_pb2 as common
from coincast.forecast.v1 import forecast_pb2 as fc
from coincast.forecast.v1 import forecast_pb2_grpc as fc_rpc
from coincast_chassis.errors import NotFound
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
    past = bool(request.as_of_date) or request.HasField("as_of_time")
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
        forecast_id="" if past else "f1",
        reconstructed=past,
    )


def unknown(ids: Iterable[str]) -> list[common.ItemError]:
    return [
        common.ItemError(
            id=i,
            kind=common.ERROR_KIND_NOT_FOUND,
            message=f"No coin has the id {i}.",
            field="ids",
            suggestions=["bitcoin"],
        )
        for i in ids
        if i not in COINS
    ]


async def known(ids: Iterable[str], context: Any) -> list[str]:
    """Return the coins that there are; where there are none the service refuses the whole request."""
    found = list(dict.fromkeys(i for i in ids if i in COINS))
    if not found:
        raise NotFound(f"No coin has the id {next(iter(ids))}.", field="ids")
    return found


REFUSED = "Only 12 past scenarios lie in this tail. The highest level with an estimate is 97.5 %."


def basis() -> fc.ScenarioBasis:
    return fc.ScenarioBasis(
        model="lightgbm",
        version="v000001",
        served_by="lightgbm",
        as_of=Timestamp(seconds=AS_OF),
        provenance=provenance(),
        scenarios=1000,
        first_origin_date="2020-01-01",
        last_origin_date="2023-10-31",
        recorded=True,
        live_sentence="Of 40 such statements 52 % came true and 55 % were promised.",
        live_records=[
            fc.LiveRiskRecord(
                kind="touch",
                horizon_days=7,
                probability_from=0.5,
                probability_to=0.6,
                statements=40,
                promised_percent=55.0,
                observed_percent=52.5,
                standard_error_percent=11.0,
                independent_periods=20,
                from_date="2023-01-01",
                to_date="2023-10-31",
            )
        ],
    )


def basis_for(
    request: fc.SimulatePathsRequest | fc.AssessPortfolioRequest | fc.EstimateTouchRequest,
) -> fc.ScenarioBasis:
    """Return the basis of a reply: of now, or of the request's past moment."""
    found = basis()
    if request.HasField("as_of_time"):
        found.as_of.CopyFrom(request.as_of_time)
        found.reconstructed, found.recorded, found.live_sentence = True, False, ""
        del found.live_records[:]
    return found


class FakeForecast(fc_rpc.ForecastServiceServicer):
    def __init__(self) -> None:
        self.script = Script()
        self.ready = True
        self.challenger_share = 0.0

    async def GetForecasts(self, request: fc.GetForecastsRequest, context: Any) -> fc.GetForecastsResponse:
        await self.script.play(request)
        return fc.GetForecastsResponse(
            forecasts=[forecast_of(i, request) for i in request.ids if i in COINS],
            errors=unknown(request.ids),
        )

    async def SimulatePaths(
        self, request: fc.SimulatePathsRequest, context: Any
    ) -> AsyncIterator[fc.SimulatePathsResponse]:
        await self.script.play(request)
        coins = await known(request.ids, context)
        yield fc.SimulatePathsResponse(basis=basis_for(request), errors=unknown(request.ids))
        size = request.days * request.paths
        for coin in coins:
            yield fc.SimulatePathsResponse(
                coin=fc.CoinPaths(
                    id=coin,
                    last_price=37_000.0,
                    days=request.days,
                    paths=request.paths,
                    closes=[37_000.0 + i for i in range(size)],
                    highs=[37_100.0 + i for i in range(size)],
                    lows=[36_900.0 + i for i in range(size)],
                    origin_dates=["2023-01-01"] * request.paths,
                )
            )

    async def AssessPortfolio(
        self, request: fc.AssessPortfolioRequest, context: Any
    ) -> fc.AssessPortfolioResponse:
        await self.script.play(request)
        ids = [holding.id for holding in request.holdings]
        coins = await known(ids, context)
        return fc.AssessPortfolioResponse(
            basis=basis_for(request),
            errors=unknown(ids),
            vs_currency=request.vs_currency,
            days=request.days,
            value=1000.0,
            gross_value=1000.0,
            change_quantiles=[fc.ChangeQuantile(probability=0.05, change=-100.0, change_percent=-10.0)],
            levels=[
                fc.RiskLevel(
                    level_percent=level,
                    value_at_risk=100.0,
                    expected_shortfall=150.0,
                    components=[
                        fc.RiskComponent(id=coin, expected_shortfall=150.0 / len(coins), share_percent=50.0)
                        for coin in coins
                    ],
                    tail_scenarios=50,
                    tail_episodes=12,
                )
                if level < 99
                else fc.RiskLevel(level_percent=level, refused=REFUSED)
                for level in request.levels_percent
            ],
            worst=[fc.WorstScenario(origin_date="2022-11-07", change=-300.0, change_percent=-30.0)],
            holdings=[
                fc.PricedHolding(id=coin, amount=1.0, price=37_000.0, value=37_000.0) for coin in coins
            ],
        )

    async def EstimateTouch(self, request: fc.EstimateTouchRequest, context: Any) -> fc.EstimateTouchResponse:
        await self.script.play(request)
        coins = await known(request.ids, context)
        return fc.EstimateTouchResponse(
            basis=basis_for(request),
            errors=unknown(request.ids),
            coins=[
                fc.CoinTouch(
                    id=coin,
                    last_price=37_000.0,
                    levels=[
                        fc.LevelTouch(
                            price=level.price or 37_000.0 * (1 + level.percent / 100),
                            percent=level.percent,
                            days=[
                                fc.TouchDay(
                                    date="2023-11-15",
                                    horizon_days=day,
                                    touch_probability=0.1 * day / request.days,
                                    close_beyond_probability=0.05,
                                )
                                for day in range(1, request.days + 1)
                            ],
                        )
                        for level in request.levels
                    ],
                )
                for coin in coins
            ],
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
