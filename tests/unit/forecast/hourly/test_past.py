"""Forecasts of past hours: nothing that became known later changes them."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from coincast.forecast.v1 import forecast_pb2 as pb
from coincast_chassis.clock import ManualClock
from coincast_chassis.errors import CoincastError, InvalidInput, NotReady
from coincast_forecast.domain import (
    LIGHTGBM,
    TECHNICAL,
    CoinForecast,
    ForecastQuery,
    HourlyHistory,
    Provenance,
    Source,
    close_of,
)
from coincast_forecast.grpc.hourly_mapping import hourly_query_of
from coincast_forecast.grpc.proto_mapping import ReplyEncoder, forecast_message, parse_as_of
from coincast_forecast.hourly.past import PastHourlyForecasts, PastHours, SourceClock
from coincast_forecast.hourly.versions import HistoricalHourlyVersions, HourlyRegistry, HourlyVersions
from coincast_forecast.point_in_time import PastDependencies, PointInTimeService
from coincast_forecast.registry.deployment import Deployment
from coincast_forecast.registry.historical import HistoricalVersions
from coincast_forecast.rendering.service import ForecastRenderer
from coincast_modelkit.candles import FIELDS
from coincast_modelkit.hourly.candles import HourlyCandles
from coincast_modelkit.models import TechnicalModel
from tests.unit.forecast.forecast_fakes import COINS, LAST_DAY, walk
from tests.unit.forecast.forecast_kit import Snapshots, live
from tests.unit.forecast.hourly.test_service import publish
from tests.unit.forecast.test_point_in_time import PastSource
from tests.unit.modelkit.hourly.hourly_market import invented

HOUR = dt.timedelta(hours=1)
# The stored hours end with the last day; the tests stand on the two days before its close.
NEWEST = close_of(LAST_DAY)
STRETCH = [NEWEST - n * HOUR for n in range(47, 0, -1)]


def stored(coin: str, seed: int) -> HourlyCandles:
    """Return hours that end at the close of the coin's days."""
    whole = invented(coin, 60, seed=seed)
    scale = walk(coin).close[-1] / whole.close[-1]
    prices = {name: scale * getattr(whole, name) for name in ("open", "high", "low", "close")}
    whole = replace(whole, **prices)
    first = np.datetime64(NEWEST.replace(tzinfo=None), "h") - np.timedelta64(len(whole), "h")
    return replace(whole, first=first)


@dataclass
class Archive:
    """Hours of coins, of which some came late; as market-data, it gives those that had come by a moment."""

    coins: dict[str, HourlyCandles]
    # How many hours after its end an hour came, by the start of the hour; none where not named.
    delays: dict[dt.datetime, int] = field(default_factory=dict)
    moments: list[dt.datetime] = field(default_factory=list)

    async def known_at(
        self, ids: Sequence[str], vs_currency: str, moment: dt.datetime
    ) -> Mapping[str, HourlyHistory | CoincastError]:
        self.moments.append(moment)
        if moment > NEWEST + 2 * HOUR:
            return {coin: InvalidInput("must not lie in the future", field="known_at") for coin in ids}
        return {
            coin: self._known(self.coins[coin], moment)
            if coin in self.coins
            else NotReady(f"{coin} has no hourly candles yet", field="ids")
            for coin in ids
        }

    def _known(self, candles: HourlyCandles, moment: dt.datetime) -> HourlyHistory:
        starts = [start.astype("datetime64[s]").item().replace(tzinfo=dt.UTC) for start in candles.starts]
        came = np.array([start + (1 + self.delays.get(start, 0)) * HOUR <= moment for start in starts])
        figures = {name: getattr(candles, name)[came] for name in FIELDS}
        known = HourlyCandles.of(candles.coin_id, candles.starts[came], **figures)
        return HourlyHistory(known, Provenance(Source.ARCHIVE, clock_offset_seconds=0.0))


@dataclass
class Rig:
    daily: PointInTimeService
    hourly: PastHourlyForecasts
    archive: Archive
    version: str

    async def days(self, as_of: dt.datetime, *ids: str) -> list[CoinForecast]:
        query = ForecastQuery(ids=ids or ("bitcoin",), model=TECHNICAL)
        response = await self.daily.forecast(query, as_of)
        assert not response.errors, response.errors
        return [served.forecast for served in response.forecasts]

    async def hours(self, as_of: dt.datetime, *ids: str, hours: int = 6) -> pb.GetForecastsResponse:
        request = pb.GetForecastsRequest(ids=ids or ("bitcoin",), hours=hours)
        request.as_of_time.FromDatetime(as_of)
        query = hourly_query_of(request)
        assert query.as_of is not None
        return ReplyEncoder().encode(await self.hourly.forecast(query, query.as_of), ManualClock())


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    technical = live(TechnicalModel())
    archive = Archive({"bitcoin": stored("bitcoin", 1), "ethereum": stored("ethereum", 2)})
    version = publish(tmp_path)
    clock = SourceClock(lambda: NEWEST.timestamp() + 1e6, lambda: 0.0)
    registry = HourlyRegistry(tmp_path)
    hours = PastHours(archive, HistoricalHourlyVersions(registry, HourlyVersions(registry)), clock)

    async def nothing(model: str, version: str) -> None:
        raise AssertionError("no daily version is stored")

    daily = PointInTimeService(
        PastDependencies(
            source=PastSource({coin: walk(coin) for coin in COINS}),
            versions=HistoricalVersions(
                tmp_path,
                deployments=Snapshots({TECHNICAL: Deployment(production=technical), LIGHTGBM: Deployment()}),
                load=nothing,  # type: ignore[arg-type]
                wait_seconds=20.0,
            ),
            renderer=ForecastRenderer(0),
            clock=clock,
            remaining_seconds=lambda: None,
            history_days=500,
            step_timeout_seconds=20.0,
            hours=hours,
        )
    )
    yield Rig(daily, PastHourlyForecasts(hours, daily), archive, version)
    daily.stop()
    technical.predictor.stop()


def absurd_after(candles: HourlyCandles, moment: dt.datetime) -> HourlyCandles:
    """Return the hours with every price after a moment made absurd."""
    later = candles.starts >= np.datetime64(moment.replace(tzinfo=None), "h")
    figures = (np.where(later, 7.0, getattr(candles, name)) for name in FIELDS)
    return HourlyCandles(candles.coin_id, candles.first, *figures)


@pytest.mark.slow
async def test_two_days_replayed_hour_by_hour_are_the_same_whatever_came_later(rig: Rig) -> None:
    whole = rig.archive.coins
    for as_of in STRETCH:
        replies = []
        for coins in (whole, {coin: absurd_after(candles, as_of) for coin, candles in whole.items()}):
            rig.archive.coins = coins
            (day,), hours = await rig.days(as_of), await rig.hours(as_of, "bitcoin", "ethereum")
            replies.append((forecast_message(day), hours))
        assert replies[0] == replies[1], as_of
        assert (day.as_of, day.reconstructed, day.forecast_id) == (as_of, True, "")
        if as_of.hour:
            assert (day.start.hours, day.start.hourly_version) == (as_of.hour, rig.version)
        for found in hours.forecasts:
            assert found.as_of.ToDatetime(dt.UTC) == as_of
            assert (found.served_by, found.version, found.reconstructed) == ("intraday", rig.version, True)
            assert not found.forecast_id and not found.degraded


async def test_hour_that_came_late_is_not_known_before_it_came(rig: Rig) -> None:
    """The hour from 09:00 came five hours after its end; the forecast of 10:00 cannot start from it."""
    late = NEWEST - 15 * HOUR
    rig.archive.delays = {late: 5}
    at_ten, (before,) = late + HOUR, (await rig.hours(late + HOUR)).forecasts
    assert before.as_of.ToDatetime(dt.UTC) == late
    (day,) = await rig.days(at_ten)
    assert day.as_of == late
    (after,) = (await rig.hours(late + 6 * HOUR)).forecasts
    assert after.as_of.ToDatetime(dt.UTC) == late + 6 * HOUR
    # Each hour's forecast is served until the next has closed, minutes after its end.
    assert rig.archive.moments[0] == at_ten + HOUR + dt.timedelta(minutes=4, seconds=59)


async def test_coin_without_hours_is_answered_from_the_last_close(rig: Rig) -> None:
    as_of = STRETCH[30]
    (found,) = (await rig.hours(as_of, "dogecoin")).forecasts
    assert found.degraded and found.reconstructed
    assert "dogecoin has no hourly candles yet" in found.reason
    close = as_of.replace(hour=0)
    assert found.as_of.ToDatetime(dt.UTC) == close
    (day,) = await rig.days(as_of, "dogecoin")
    assert day.as_of == close
    assert "no hour of dogecoin had arrived by then" in day.start.reason


async def test_version_that_learnt_from_later_days_makes_no_past_forecast(tmp_path: Path, rig: Rig) -> None:
    before = dt.datetime(2021, 5, 1, 12, tzinfo=dt.UTC)
    registry = HourlyRegistry(tmp_path)
    versions = HistoricalHourlyVersions(registry, HourlyVersions(registry))
    assert await versions.learnt_by(before.date()) == (
        "no version of intraday was trained only on days up to 2021-05-01"
    )
    found = await versions.learnt_by(LAST_DAY)
    assert not isinstance(found, str) and found.manifest.version == rig.version
    assert isinstance(
        await versions.learnt_by(dt.date.fromisoformat(found.manifest.data.to_date)), type(found)
    )


@pytest.mark.parametrize("unit", ["days", "hours"])
async def test_hour_to_come_is_refused_by_name(rig: Rig, unit: str) -> None:
    as_of = NEWEST + 5 * HOUR
    with pytest.raises(InvalidInput, match="has not closed yet: give a closed UTC hour or day") as caught:
        await (rig.hours(as_of) if unit == "hours" else rig.days(as_of))
    assert caught.value.field == "as_of"


def _request(as_of: dt.datetime) -> pb.GetForecastsRequest:
    request = pb.GetForecastsRequest(ids=["bitcoin"], hours=3)
    request.as_of_time.FromDatetime(as_of)
    return request


def test_moment_stands_for_the_hour_that_ended_by_then() -> None:
    assert parse_as_of(_request(dt.datetime(2025, 8, 15, 14, 59, 59, tzinfo=dt.UTC))) == dt.datetime(
        2025, 8, 15, 14, tzinfo=dt.UTC
    )
    assert parse_as_of(pb.GetForecastsRequest(as_of_date="2025-08-15")) == dt.datetime(
        2025, 8, 16, tzinfo=dt.UTC
    )
    both = _request(dt.datetime(2025, 8, 15, tzinfo=dt.UTC))
    both.as_of_date = "2025-08-15"
    with pytest.raises(InvalidInput, match="not both"):
        parse_as_of(both)
