"""Forecasts by the hour: from the hourly model where it can, else scaled from the daily one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from coincast.common.v1 import common_pb2
from coincast.forecast.v1 import forecast_pb2 as pb
from coincast.market.v1 import market_pb2
from coincast_chassis.clock import ManualClock
from coincast_chassis.errors import CoincastError, InvalidInput, NotFound, NotReady, Unavailable
from coincast_forecast.domain import HourlyHistory, Provenance, Source
from coincast_forecast.grpc.hourly_mapping import hourly_query_of
from coincast_forecast.grpc.proto_mapping import ReplyEncoder, models_message
from coincast_forecast.hourly.histories import HourlyHistories, history_of
from coincast_forecast.hourly.service import HourlyForecastService, HourlyQuery, at_hours
from coincast_forecast.hourly.versions import HourlyRegistry, HourlyVersions
from coincast_forecast.prediction_log.recorder import Recorder
from coincast_modelkit.artifact import (
    GOLDEN,
    Aliases,
    HorizonRecord,
    Manifest,
    Record,
    aliases_path,
    write_artifact,
)
from coincast_modelkit.artifact.hourly import FEATURES_HASH, hourly_data_window, hourly_golden_bytes
from coincast_modelkit.durable_files import replace_file
from coincast_modelkit.hourly.features import TERMS
from tests.unit.forecast.forecast_kit import FakeLedger, make_kit
from tests.unit.modelkit.hourly.hourly_market import day_model, invented

PANEL = {"bitcoin": invented("bitcoin", 120, seed=1), "ethereum": invented("ethereum", 120, seed=2)}
FRESH = Provenance(Source.FRESH)
CLOCK = ManualClock()
QUERY = HourlyQuery(("bitcoin",), "usd", 24, (80.0, 95.0), (0.1, 0.9))


class Given:
    """Hourly histories that are given; the rest are errors."""

    def __init__(
        self,
        missing: Sequence[str] = (),
        provenance: Provenance = FRESH,
        until: np.datetime64 = PANEL["bitcoin"].closes_at,
        doubts: Mapping[str, str] | None = None,
    ) -> None:
        self._missing, self._provenance, self.until = missing, provenance, until
        self._doubts = doubts or {}

    async def get(self, ids: Sequence[str], vs_currency: str) -> Mapping[str, HourlyHistory | CoincastError]:
        """Return the coins that are there."""
        return {
            coin: HourlyHistory(PANEL[coin].until(self.until), self._provenance, self._doubts.get(coin, ""))
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


async def served(
    root: Path, source: Given, query: HourlyQuery = QUERY, *, ledger: FakeLedger | None = None
) -> pb.GetForecastsResponse:
    """Return the reply to a query, as the caller sees it."""
    return await ask(await service_of(root, source, ledger or FakeLedger()), query)


async def service_of(root: Path, source: Given, ledger: FakeLedger) -> HourlyForecastService:
    """Return the service over a registry, histories and a log."""
    versions = HourlyVersions(HourlyRegistry(root))
    await versions.refresh()
    return HourlyForecastService(source, versions, make_kit().forecasting, Recorder(ledger, CLOCK), CLOCK)


async def ask(service: HourlyForecastService, query: HourlyQuery) -> pb.GetForecastsResponse:
    """Return the reply to a query, as the caller sees it."""
    return ReplyEncoder().encode(await service.forecast(query), CLOCK)


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


async def test_one_coin_without_hours_does_not_corrupt_the_others(tmp_path: Path) -> None:
    publish(tmp_path)
    query = HourlyQuery(("ethereum", "bitcoin", "nocoin"), "usd", 3, (80.0,))
    reply = await served(tmp_path, Given(missing=("ethereum",)), query)
    assert [(f.id, f.served_by == "intraday") for f in reply.forecasts] == [
        ("ethereum", False),
        ("bitcoin", True),
    ]
    assert [e.id for e in reply.errors] == ["nocoin"]


@pytest.mark.parametrize("doubtful", ["bitcoin", "ethereum"])
async def test_hours_in_doubt_are_neither_forecast_from_nor_used_as_the_market(
    tmp_path: Path, doubtful: str
) -> None:
    publish(tmp_path)
    doubt = "the hours are far off the days of the same time"
    (forecast,) = (await served(tmp_path, Given(doubts={doubtful: doubt}))).forecasts
    (without,) = (await served(tmp_path, Given(missing=(doubtful,)))).forecasts
    assert forecast.served_by == without.served_by
    assert forecast.points == without.points
    assert forecast.degraded == (doubtful == "bitcoin")
    if forecast.degraded:
        assert f"the hours of bitcoin are not confirmed: {doubt}" in forecast.reason
        assert "scaled" in forecast.reason


async def test_stale_hours_are_marked(tmp_path: Path) -> None:
    publish(tmp_path)
    stale = Provenance(Source.STALE, stale=True, reason="market-data lost its source")
    (forecast,) = (await served(tmp_path, Given(provenance=stale))).forecasts
    assert forecast.degraded
    assert forecast.reason == "market-data lost its source"


async def test_every_served_hour_is_in_the_log_once(tmp_path: Path) -> None:
    version, ledger = publish(tmp_path), FakeLedger()
    service = await service_of(tmp_path, Given(), ledger)
    first = await ask(service, replace(QUERY, hours=6))
    again = await ask(service, replace(QUERY, hours=6))
    longer = await ask(service, replace(QUERY, hours=24))
    ids = {reply.forecasts[0].forecast_id for reply in (first, again, longer)}
    assert len(ids) == 1
    assert ids != {""}
    assert [entry.horizon_hours for entry in ledger.entries] == list(range(1, 25))
    for entry, point in zip(ledger.entries, longer.forecasts[0].points, strict=True):
        assert {entry.forecast_id} == ids
        assert (entry.model, entry.version, entry.served_by) == ("intraday", version, "intraday")
        assert (entry.horizon_days, entry.variant, entry.shadow) == (0, "production", False)
        assert entry.due_at == point.closes_at.ToDatetime(dt.UTC)
        assert entry.starts_at == longer.forecasts[0].as_of.ToDatetime(dt.UTC)
        tenth = entry.price_quantiles[entry.probabilities.index(0.1)]
        assert tenth == pytest.approx(point.quantiles[0].price)
    other = await ask(service, replace(QUERY, ids=("ethereum",), hours=1))
    assert other.forecasts[0].forecast_id not in ids


@pytest.mark.parametrize(
    ("hours_back", "as_of", "as_of_hours"),
    [(0, "2021-05-03", 0), (1, "2021-05-02", 23), (6, "2021-05-02", 18), (23, "2021-05-02", 1),
     (24, "2021-05-02", 0)],
)  # fmt: skip
async def test_an_entry_names_the_last_close_and_the_hours_since(
    tmp_path: Path, hours_back: int, as_of: str, as_of_hours: int
) -> None:
    publish(tmp_path)
    ledger = FakeLedger()
    until = PANEL["bitcoin"].closes_at - np.timedelta64(hours_back, "h")
    await ask(await service_of(tmp_path, Given(until=until), ledger), replace(QUERY, hours=2))
    assert {(e.as_of, e.as_of_hours) for e in ledger.entries} == {(as_of, as_of_hours)}


async def test_scaled_answers_are_logged_under_the_model_that_answered(tmp_path: Path) -> None:
    ledger = FakeLedger()
    (forecast,) = (await served(tmp_path, Given(missing=("bitcoin",)), ledger=ledger)).forecasts
    assert forecast.forecast_id
    assert {(e.model, e.served_by, e.as_of_hours) for e in ledger.entries} == {
        ("intraday", forecast.served_by, 0)
    }
    assert [e.horizon_hours for e in ledger.entries] == list(range(1, 25))


async def test_a_log_that_takes_nothing_costs_the_id_alone(tmp_path: Path) -> None:
    publish(tmp_path)
    ledger = FakeLedger()
    ledger.full = True
    service = await service_of(tmp_path, Given(), ledger)
    (forecast,) = (await ask(service, QUERY)).forecasts
    assert (forecast.forecast_id, forecast.degraded, len(forecast.points)) == ("", False, 24)
    ledger.full = False
    assert (await ask(service, QUERY)).forecasts[0].forecast_id


async def test_the_hourly_model_is_among_the_models_with_its_record(tmp_path: Path) -> None:
    versions = HourlyVersions(HourlyRegistry(tmp_path), CLOCK)
    await versions.refresh()
    (absent,) = models_message([versions.status()]).models
    assert (absent.name, absent.ready, absent.reason) == ("intraday", False, versions.reason)
    assert versions.loaded() == ()
    version = publish(tmp_path)
    await versions.refresh()
    (model,) = models_message([versions.status()]).models
    assert (model.ready, model.version, model.max_horizon_days, model.max_horizon_hours) == (
        True, version, 0, 48,
    )  # fmt: skip
    assert [(h.horizon_days, h.horizon_hours) for h in model.record.horizons] == [(0, 6)]
    assert [(loaded.model, loaded.version) for loaded in versions.loaded()] == [("intraday", version)]
    broken = publish(tmp_path)
    (tmp_path / "intraday" / broken / "intraday.json").write_text("{}")
    await versions.refresh()
    assert versions.status().ready
    assert f"{version} serves" in versions.status().reason
    assert [refused.version for refused in versions.refused()] == [broken]


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


@pytest.mark.parametrize(
    ("notes", "reason"),
    [(["the hours are far off the days"], "the hours are far off the days"),
     ([], "the newest candles are not confirmed yet")],
)  # fmt: skip
def test_a_doubt_of_market_data_comes_with_the_hours(notes: list[str], reason: str) -> None:
    parts = [
        market_pb2.History(hourly_candles=[hourly(100.0, 0)]),
        market_pb2.History(hourly_candles=[hourly(101.0, 3600)], in_doubt=True, quality_notes=notes),
    ]
    found = history_of("bitcoin", parts)
    assert isinstance(found, HourlyHistory)
    assert found.doubt_reason == reason


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


async def test_stored_hours_are_read_without_a_call_and_stay_the_same_object_until_they_change() -> None:
    clock = ManualClock(now=1_000_000.0)  # the hours lag far behind: they are read again each minute
    spans = [market_pb2.History(id="bitcoin", hourly_candles=[hourly(1.0, 0), hourly(2.0, 3600)])]
    error = common_pb2.ItemError(id="nocoin", kind=common_pb2.ERROR_KIND_NOT_FOUND, message="unknown")
    replies = [
        market_pb2.StreamHistoryResponse(history=spans[0]),
        market_pb2.StreamHistoryResponse(error=error),
    ]
    stub = Stub(replies)
    histories = HourlyHistories(stub, clock, timeout_seconds=1.0, stored_only=True, retry_seconds=60.0)  # type: ignore[arg-type]
    assert histories.peek("bitcoin", "usd") is None
    first = await histories.get(("bitcoin", "nocoin"), "usd")
    assert stub.requests[0].stored_only
    assert histories.peek("bitcoin", "usd") is first["bitcoin"]
    assert histories.peek("nocoin", "usd") is first["nocoin"]
    await histories.get(("bitcoin", "nocoin"), "usd")
    assert len(stub.requests) == 1, "an error is kept as well"
    clock.advance(61.0)
    assert histories.peek("bitcoin", "usd") is None
    second = await histories.get(("bitcoin", "nocoin"), "usd")
    assert len(stub.requests) == 2
    assert (second["bitcoin"], second["nocoin"]) == (first["bitcoin"], first["nocoin"])
    clock.advance(61.0)
    replies[0].history.hourly_candles.append(hourly(3.0, 7200))
    third = await histories.get(("bitcoin",), "usd")
    assert third["bitcoin"] is not first["bitcoin"]
