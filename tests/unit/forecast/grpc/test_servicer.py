"""The whole service over real gRPC, without any artifact and without Redis."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from coincast.common.v1 import common_pb2
from coincast.forecast.v1 import forecast_pb2 as pb
from coincast.forecast.v1.forecast_pb2_grpc import ForecastServiceStub
from coincast_chassis.errors import InvalidInput
from coincast_chassis.grpc.channel import open_channel
from coincast_chassis.run import serve
from coincast_forecast.app import FULL_NAME, build
from coincast_forecast.settings import Settings
from tests.unit.forecast.forecast_fakes import LAST_DAY, FakeMarket, market_server, walk

if TYPE_CHECKING:
    from coincast.forecast.v1.forecast_pb2_grpc import ForecastServiceAsyncStub


@pytest.fixture
async def market() -> AsyncIterator[FakeMarket]:
    yield FakeMarket()


@pytest.fixture
async def stub(market: FakeMarket, tmp_path: Path) -> AsyncIterator[ForecastServiceAsyncStub]:
    async with market_server(market) as target:
        settings = Settings(
            port=0,
            metrics_port=0,
            market_target=target,
            artifacts_dir=tmp_path / "artifacts",
            spool_dir=tmp_path / "spool",
            redis_url="redis://127.0.0.1:1/0",
            day_check_seconds=0.1,
            not_serving_seconds=0,
        )
        async with (
            serve("forecast", settings, build) as address,
            open_channel(address, service=FULL_NAME) as channel,
        ):
            yield ForecastServiceStub(channel)


async def test_technical_answers_where_there_is_no_artifact(stub: ForecastServiceAsyncStub) -> None:
    reply = await stub.GetForecasts(pb.GetForecastsRequest(ids=["bitcoin"], days=3, model="lightgbm"))
    [forecast] = reply.forecasts
    assert (forecast.model, forecast.served_by, forecast.version) == ("lightgbm", "technical", "")
    assert forecast.degraded
    assert "lightgbm" in forecast.reason
    assert [p.date for p in forecast.points] == [
        (LAST_DAY + dt.timedelta(days=d)).isoformat() for d in (1, 2, 3)
    ]
    for point in forecast.points:
        inner, outer = point.intervals
        assert (inner.level_percent, outer.level_percent) == (80, 95)
        assert outer.lower < inner.lower < point.price < inner.upper < outer.upper
        assert 0 < point.probability_of_rise < 1
        assert point.volatility.annualised_percent > 0
    assert forecast.as_of.ToDatetime().date() == LAST_DAY + dt.timedelta(days=1)
    assert forecast.provenance.source == common_pb2.SOURCE_FRESH
    assert len(forecast.forecast_id) == 32


async def test_technical_requested_is_not_degraded(stub: ForecastServiceAsyncStub) -> None:
    reply = await stub.GetForecasts(pb.GetForecastsRequest(ids=["bitcoin"], model="technical"))
    [forecast] = reply.forecasts
    assert (forecast.degraded, forecast.reason, len(forecast.points)) == (False, "", 7)


async def test_one_bad_coin_does_not_cost_the_others(
    stub: ForecastServiceAsyncStub, market: FakeMarket
) -> None:
    market.coins["newborn"] = walk("newborn", days=12)
    ids = ["Bitcoin", "nothing", "newborn", "ethereum"]
    reply = await stub.GetForecasts(pb.GetForecastsRequest(ids=ids, model="lightgbm"))
    assert [f.id for f in reply.forecasts] == ["bitcoin", "ethereum"]
    unknown, young = reply.errors
    assert (unknown.id, unknown.kind) == ("nothing", common_pb2.ERROR_KIND_NOT_FOUND)
    assert list(unknown.suggestions) == ["bitcoin"]
    assert (young.id, young.kind) == ("newborn", common_pb2.ERROR_KIND_NOT_READY)
    assert "12" in young.message


async def test_a_kept_forecast_asks_nothing_of_market_data(
    stub: ForecastServiceAsyncStub, market: FakeMarket
) -> None:
    request = pb.GetForecastsRequest(ids=["bitcoin", "dogecoin"], days=5)
    first = await stub.GetForecasts(request)
    fetched = [call for call in market.calls if call[2] > 2]
    second = await stub.GetForecasts(request)
    assert [call for call in market.calls if call[2] > 2] == fetched
    assert [f.forecast_id for f in first.forecasts] == [f.forecast_id for f in second.forecasts]


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.GetForecastsRequest(), "ids"),
        (pb.GetForecastsRequest(ids=["a"] * 1 + [f"c{i}" for i in range(250)]), "ids"),
        (pb.GetForecastsRequest(ids=["bitcoin"], days=31), "days"),
        (pb.GetForecastsRequest(ids=["bitcoin"], model="oracle"), "model"),
        (pb.GetForecastsRequest(ids=["bitcoin"], levels_percent=[float("nan")]), "levels_percent"),
        (pb.GetForecastsRequest(ids=["bitcoin"], quantile_probabilities=[1.0]), "quantile_probabilities"),
        (pb.GetForecastsRequest(ids=["bitcoin"], attribution_features=21), "attribution_features"),
        (pb.GetForecastsRequest(ids=["bitcoin"], vs_currency="us dollar"), "vs_currency"),
    ],
)
async def test_bad_input_names_the_field(
    stub: ForecastServiceAsyncStub, request_: pb.GetForecastsRequest, field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        await stub.GetForecasts(request_)
    assert caught.value.field == field


async def test_models_and_status_say_what_there_is(stub: ForecastServiceAsyncStub) -> None:
    await stub.GetForecasts(pb.GetForecastsRequest(ids=["bitcoin"], days=2))
    models = {m.name: m for m in (await stub.ListModels(pb.ListModelsRequest())).models}
    assert set(models) == {"ml_ensemble", "lightgbm", "lstm", "technical", "intraday", "auto"}
    assert models["technical"].ready
    assert not models["lightgbm"].ready
    assert models["lightgbm"].reason
    status = await stub.GetStatus(pb.GetStatusRequest())
    assert status.market_data_up
    assert status.history.coins >= 1
    assert not status.ledger.redis_up
    assert status.ledger.spooled == status.ledger.appended_total == 2
