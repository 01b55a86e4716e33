"""Forecasts by the hour: from the hourly model where it can, else scaled from the daily one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from coincast.common.v1 import common_pb2
from coincast.forecast.v1 import forecast_pb2 as pb
from coincast.market.v1 import market_pb2
from coincast_chassis.clock import ManualClock
from coincast_chassis.errors import CoincastError, InvalidInput, NotFound, NotReady, Unavailable
from coincast_forecast.domain import Provenance, Source
from coincast_forecast.grpc.hourly_mapping import hourly_message, hourly_query_of
from coincast_forecast.hourly.histories import HourlyHistories, HourlyHistory, history_of
from coincast_forecast.hourly.service import HourlyForecastService, HourlyQuery, at_hours
from coincast_forecast.hourly.versions import HourlyRegistry, HourlyVersions
from coincast_modelkit.artifact import (
    GOLDEN,
    Aliases,
    HorizonRecord,
    Manifest,
    Record,
    aliases_path,
    write_artifact,
)
from coincast_modelkit.artifact.durable_fs import replace_file
from coincast_modelkit.artifact.hourly import FEATURES_HASH, hourly_data_window, hourly_golden_bytes
from coincast_modelkit.hourly.features import TERMS
from tests.unit.forecast.forecast_kit import make_kit
from tests.unit.modelkit.hourly.hourly_market import day_model, invented

PANEL = {"bitcoin": invented("bitcoin", 120, seed=1), "ethereum": invented("ethereum", 120, seed=2)}
FRESH = Provenance(Source.FRESH)
CLOCK = ManualClock()
QUERY = HourlyQuery(("bitcoin",), "usd", 24, (80.0, 95.0), (0.1, 0.9))


class Given:
    """Hourly histories that are given; the rest are errors."""

    def __init__(self, missing: Sequence[str] = (), provenance: Provenance = FRESH) -> None:
        self._missing, self._provenance = missing, provenance

    async def get(self, ids: Sequence[str], vs_currency: str) -> Mapping[str, HourlyHistory | CoincastError]:
        """Return the coins that are there."""
        return {
            coin: HourlyHistory(PANEL[coin], self._provenance)
            if coin in PANEL and coin not in self._missing
            else NotReady(f"{coin} has no hourly candles yet", field="ids")
            for coin in ids
        }


def publish(root: Path) -> str:
    """Write a version of the hourly model and put it into production."""
    model = day_model()
    golden = hourly_golden_bytes(model, list(PANEL.values()))
    record = Record(1.7e9, ("bitcoin",), "2021-01-01", "2021-05-01", (HorizonRecord(0, 9, horizon_hours=6),))
    manifest = Manifest(
        model="intraday",
        created_at=1.7e9,
        feature_names=TERMS,
        feature_spec_hash=FEATURES_HASH,
        data=hourly_data_window(PANEL),
        coins=tuple(PANEL),
        seeds=(),
        library_versions={},
        code_version="test",
        parameters={},
        record=record,
        golden=GOLDEN,
    )

    def save(folder: Path) -> None:
        model.save(folder)
        (folder / GOLDEN).write_bytes(golden)

    version = write_artifact(root, manifest, save)
    replace_file(aliases_path(root, "intraday"), Aliases(revision=1, production=version).to_bytes())
    return version


async def served(root: Path, source: Given, query: HourlyQuery = QUERY) -> pb.GetForecastsResponse:
    """Return the reply to a query, as the caller sees it."""
    versions = HourlyVersions(HourlyRegistry(root))
    await versions.refresh()
    service = HourlyForecastService(source, versions, make_kit().forecasting)
    return hourly_message(await service.forecast(query), query, CLOCK)


async def test_hours_are_forecast_from_the_newest_closed_hour(tmp_path: Path) -> None:
    version = publish(tmp_path)
    reply = await served(tmp_path, Given())
    (forecast,) = reply.forecasts
    assert (forecast.model, forecast.served_by, forecast.version) == ("intraday", "intraday", version)
    assert (forecast.degraded, forecast.reason) == (False, "")
    assert forecast.as_of.ToDatetime() == dt.datetime(2021, 5, 4)  # noqa: DTZ001 - protobuf gives it naive
    assert [p.horizon_hours for p in forecast.points] == list(range(1, 25))
    assert all(p.horizon_days == 0 for p in forecast.points)
    sixth = forecast.points[5]
    assert sixth.closes_at.ToDatetime() == dt.datetime(2021, 5, 4, 6)  # noqa: DTZ001
    assert sixth.date == "2021-05-04"
    assert forecast.points[23].date == "2021-05-04"
    assert sixth.price == pytest.approx(forecast.last_price)
    narrow, wide = sixth.intervals
    assert wide.lower < narrow.lower < sixth.price < narrow.upper < wide.upper
    assert sixth.quantiles[0].price == pytest.approx(narrow.lower)
    assert sixth.volatility.annualised_percent > 0
    assert forecast.record.horizons[0].horizon_hours == 6


@pytest.mark.parametrize("published", [True, False])
async def test_without_hours_or_model_the_daily_forecast_is_scaled_and_says_so(
    tmp_path: Path, published: bool
) -> None:
    if published:
        publish(tmp_path)
    reply = await served(tmp_path, Given(missing=("bitcoin",)))
    (forecast,) = reply.forecasts
    assert forecast.degraded
    assert forecast.served_by != "intraday"
    assert ("hourly candles" if published else "no version of the hourly model") in forecast.reason
    assert "scaled" in forecast.reason
    widths = [p.intervals[0].upper / p.intervals[0].lower for p in forecast.points]
    assert np.all(np.diff(widths) > 0)


async def test_one_coin_without_hours_does_not_spoil_the_others(tmp_path: Path) -> None:
    publish(tmp_path)
    query = HourlyQuery(("ethereum", "bitcoin", "nocoin"), "usd", 3, (80.0,))
    reply = await served(tmp_path, Given(missing=("ethereum",)), query)
    assert [(f.id, f.served_by == "intraday") for f in reply.forecasts] == [
        ("ethereum", False),
        ("bitcoin", True),
    ]
    assert [e.id for e in reply.errors] == ["nocoin"]


async def test_stale_hours_are_marked(tmp_path: Path) -> None:
    publish(tmp_path)
    stale = Provenance(Source.STALE, stale=True, reason="market-data lost its source")
    (forecast,) = (await served(tmp_path, Given(provenance=stale))).forecasts
    assert forecast.degraded
    assert forecast.reason == "market-data lost its source"


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.GetForecastsRequest(ids=["bitcoin"], hours=49), "hours"),
        (pb.GetForecastsRequest(ids=["bitcoin"], hours=6, days=3), "hours"),
        (pb.GetForecastsRequest(ids=["bitcoin"], hours=6, model="lstm"), "model"),
        (pb.GetForecastsRequest(ids=["bitcoin"], hours=6, attribution_features=3), "attribution_features"),
        (pb.GetForecastsRequest(hours=6), "ids"),
        (pb.GetForecastsRequest(ids=["bitcoin"], hours=6, levels_percent=[200]), "levels_percent"),
    ],
)
def test_bad_request_names_its_field(request_: pb.GetForecastsRequest, field: str) -> None:
    with pytest.raises(InvalidInput) as error:
        hourly_query_of(request_)
    assert error.value.field == field


def test_scaled_quantiles_meet_the_daily_ones() -> None:
    first, second = np.array([-0.02, 0.0, 0.02]), np.array([-0.03, 0.0, 0.03])
    found = at_hours(first, second, np.array([6, 24, 36, 48]))
    assert found[0] == pytest.approx(first / 2)
    assert found[1] == pytest.approx(first)
    assert found[2] == pytest.approx(np.sign(first) * np.sqrt((first**2 + second**2) / 2))
    assert found[3] == pytest.approx(second)


async def test_refused_version_leaves_the_last_good_one(tmp_path: Path) -> None:
    version = publish(tmp_path)
    versions = HourlyVersions(HourlyRegistry(tmp_path))
    await versions.refresh()
    broken = publish(tmp_path)
    (tmp_path / "intraday" / broken / "intraday.json").write_text("{}")
    await versions.refresh()
    assert versions.current is not None
    assert versions.current.manifest.version == version
    assert broken in versions.reason


def hourly(close: float, start: int, **figures: float) -> market_pb2.HourlyCandle:
    """Return one hour of market-data."""
    return market_pb2.HourlyCandle(start_unix_seconds=start, close=close, **figures)


def test_hours_of_market_data_become_candles() -> None:
    hours = [hourly(1.0, 0), hourly(2.0, 7200, high=2.5, low=1.5, open=1.6, volume=3.0), hourly(0.0, 3600)]
    span = market_pb2.History(id="bitcoin", hourly_candles=hours)
    found = history_of("bitcoin", [span])
    assert isinstance(found, HourlyHistory)
    assert found.candles.known.tolist() == [True, False, True]
    assert np.isnan(found.candles.high[0])
    assert found.candles.volume[2] == 3.0


@pytest.mark.parametrize(
    ("hours", "kind"), [([], NotReady), ([hourly(1.0, 1800)], Unavailable)], ids=["none", "off the hour"]
)
def test_hours_that_cannot_be_used_are_an_error(
    hours: list[market_pb2.HourlyCandle], kind: type[CoincastError]
) -> None:
    assert isinstance(history_of("bitcoin", [market_pb2.History(hourly_candles=hours)]), kind)


class Stub:
    """Market-data's stream, counted."""

    def __init__(self, spans: Sequence[market_pb2.StreamHistoryResponse]) -> None:
        self._spans = spans
        self.requests: list[market_pb2.StreamHistoryRequest] = []

    def unary_stream(self, *_: object, **__: object) -> object:
        """Return the call of any method."""

        async def call(request: market_pb2.StreamHistoryRequest, **_options: object) -> object:
            self.requests.append(request)
            for span in self._spans:
                yield span

        return call

    def unary_unary(self, *_: object, **__: object) -> object:
        """Return nothing: it is never called."""


async def test_history_is_kept_until_the_next_hour_closes() -> None:
    clock = ManualClock(now=7200.0 + 600)
    span = market_pb2.History(id="bitcoin", hourly_candles=[hourly(1.0, 0), hourly(2.0, 3600)])
    error = common_pb2.ItemError(id="nocoin", kind=common_pb2.ERROR_KIND_NOT_FOUND, message="unknown")
    stub = Stub(
        [market_pb2.StreamHistoryResponse(history=span), market_pb2.StreamHistoryResponse(error=error)]
    )
    histories = HourlyHistories(stub, clock, timeout_seconds=1.0)  # type: ignore[arg-type]
    found = await histories.get(("bitcoin", "nocoin"), "usd")
    assert isinstance(found["bitcoin"], HourlyHistory)
    assert isinstance(found["nocoin"], NotFound)
    assert stub.requests[0].interval == market_pb2.CANDLE_INTERVAL_ONE_HOUR
    clock.advance(2900.0)
    await histories.get(("bitcoin",), "usd")
    assert len(stub.requests) == 1
    clock.advance(200.0)
    await histories.get(("bitcoin",), "usd")
    assert len(stub.requests) == 2
