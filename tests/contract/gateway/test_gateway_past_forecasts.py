"""Forecasts of past days over REST: from the log where they were served, else reconstructed."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from coincast.forecast.v1 import forecast_pb2 as fc
from coincast.training.v1 import training_pb2 as tr
from coincast_chassis.errors import Unavailable
from tests.contract.gateway.fakes import World, client_of, world

PROBABILITIES = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975)
DAY = dt.date(2023, 11, 9)
CLOSE = int(dt.datetime(2023, 11, 10, tzinfo=dt.UTC).timestamp())


def logged(
    coin: str = "bitcoin", *, days: int = 3, model: str = "lightgbm", **more: Any
) -> list[tr.LoggedForecast]:
    base = {"forecast_id": f"{coin}-{model}", "version": "v7", "served_at": Timestamp(seconds=CLOSE + 60)}
    return [
        tr.LoggedForecast(
            **{
                "id": coin, "vs_currency": "usd", "model": model, "served_by": model, "variant": "production",
                "as_of": Timestamp(seconds=CLOSE), "horizon_days": day, "last_price": 100.0, "median": 101.0,
                "closes_at": Timestamp(seconds=CLOSE + 86_400 * day),
                "quantiles": [fc.Quantile(probability=p, price=100 + p) for p in PROBABILITIES],
                "outcome": 103.0, **base, **more,
            }
        )
        for day in range(1, days + 1)
    ]  # fmt: skip


async def get(there: World, query: str) -> tuple[int, dict[str, Any]]:
    async with client_of(there) as client:
        reply = await client.get(f"/forecasts?{query}")
        return reply.status_code, reply.json()


async def test_served_forecast_is_answered_as_it_was_served() -> None:
    async with world() as there:
        there.training.logged = logged()
        status, document = await get(there, "ids=bitcoin&days=2&as_of=2023-11-09&quantiles=0.25")
        request = there.training.script.requested(tr.StreamForecastLogRequest)
        assert not [call for call in there.forecast.script.calls if isinstance(call, fc.GetForecastsRequest)]
    assert status == 200
    assert (list(request.ids), request.from_date, request.to_date) == (
        ["bitcoin"],
        "2023-11-09",
        "2023-11-09",
    )
    (found,) = document["forecasts"]
    assert (found["reconstructed"], found["forecast_id"], found["version"]) == (
        False,
        "bitcoin-lightgbm",
        "v7",
    )
    assert found["as_of"] == "2023-11-10T00:00:00Z"
    assert [point["date"] for point in found["points"]] == ["2023-11-10", "2023-11-11"]
    first = found["points"][0]
    assert first["price"] == 101.0
    assert first["intervals"]["95"] == {"lower": 100.025, "upper": 100.975}
    assert first["quantiles"] == {"0.25": 100.25}
    assert "outcome" not in first


@pytest.mark.parametrize(
    ("entries", "query"),
    [
        ([], "days=2"),
        (logged(days=1), "days=2"),
        (logged(), "days=2&levels=99"),
        (logged(), "days=2&quantiles=0.4"),
        (logged(vs_currency="eur"), "days=2"),
    ],
    ids=["none", "shorter", "level not logged", "quantile not logged", "other currency"],
)
async def test_forecast_that_the_log_does_not_hold_whole_is_reconstructed(
    entries: list[tr.LoggedForecast], query: str
) -> None:
    async with world() as there:
        there.training.logged = entries
        status, document = await get(there, f"ids=bitcoin&as_of=2023-11-09&{query}")
        request = there.forecast.script.requested(fc.GetForecastsRequest)
    assert status == 200
    assert request.as_of_date == "2023-11-09"
    assert document["forecasts"][0]["reconstructed"] is True


async def test_coins_come_in_the_order_of_the_request_from_both_sources() -> None:
    async with world() as there:
        there.training.logged = logged()
        _, document = await get(there, "ids=ethereum,bitcoin,nocoin&days=1&as_of=2023-11-09")
        request = there.forecast.script.requested(fc.GetForecastsRequest)
    assert list(request.ids) == ["ethereum", "nocoin"]
    assert [(each["id"], each["reconstructed"]) for each in document["forecasts"]] == [
        ("ethereum", True),
        ("bitcoin", False),
    ]
    assert [error["id"] for error in document["errors"]] == ["nocoin"]


async def test_of_several_served_that_day_the_preferred_model_served_first_answers() -> None:
    later = logged(
        model="ml_ensemble", version="later", forecast_id="x", served_at=Timestamp(seconds=CLOSE + 99)
    )
    async with world() as there:
        there.training.logged = [*logged(), *later, *logged(model="ml_ensemble")]
        _, document = await get(there, "ids=bitcoin&days=1&as_of=2023-11-09")
    assert [(each["model"], each["version"]) for each in document["forecasts"]] == [("ml_ensemble", "v7")]


@pytest.mark.parametrize(
    ("as_of", "day", "moment"),
    [
        ("2023-11-09", "2023-11-09", None),
        ("2023-11-10T00:00:00Z", "2023-11-09", None),
        ("2023-11-10T00:59:00Z", "2023-11-09", None),
        ("2023-11-10T12:00:00Z", "", "2023-11-10T12:00:00Z"),
        ("2023-11-10T12:59:59Z", "", "2023-11-10T12:00:00Z"),
        ("2023-11-10T01:00:00+02:00", "", "2023-11-09T23:00:00Z"),
        ("2023-11-10T12:00:00", "", "2023-11-10T12:00:00Z"),
        ("2023-11-10t12:00:00z", "", "2023-11-10T12:00:00Z"),
    ],
)
@pytest.mark.parametrize("unit", ["days", "hours"])
async def test_day_means_its_close_and_moment_the_newest_hour(
    as_of: str, day: str, moment: str | None, unit: str
) -> None:
    async with world() as there:
        there.training.logged = []
        status, _ = await get(there, f"ids=bitcoin&as_of={as_of}&{unit}=3")
        request = there.forecast.script.requested(fc.GetForecastsRequest)
        log = there.training.script.requested(tr.StreamForecastLogRequest)
    assert status == 200
    assert request.as_of_date == day
    assert (request.as_of_time.ToJsonString() if request.HasField("as_of_time") else None) == moment
    assert (request.days, request.hours) == ((3, 0) if unit == "days" else (0, 3))
    # The log files a forecast under the day of its last close.
    assert (
        log.from_date == log.to_date == ("2023-11-08" if moment == "2023-11-09T23:00:00Z" else "2023-11-09")
    )


NOON = CLOSE + 12 * 3600


def logged_hours(start: int = NOON, hours: int = 3, **more: Any) -> list[tr.LoggedForecast]:
    return [
        entry
        for hour in range(1, hours + 1)
        for entry in logged(
            days=1,
            model="intraday",
            as_of=Timestamp(seconds=start),
            horizon_days=0,
            horizon_hours=hour,
            closes_at=Timestamp(seconds=start + 3600 * hour),
            **more,
        )
    ]


@pytest.mark.parametrize(
    ("entries", "query", "answered"),
    [
        (logged_hours(), "hours=3&as_of=2023-11-10T12:30:00Z", True),
        (logged_hours(), "hours=3&as_of=2023-11-10T13:00:00Z", False),
        (logged_hours(), "hours=4&as_of=2023-11-10T12:00:00Z", False),
        (logged_hours(CLOSE), "hours=2&as_of=2023-11-09", True),
        (logged_hours(CLOSE), "days=1&as_of=2023-11-09", False),
        (logged(), "hours=1&as_of=2023-11-09", False),
        # Of a forecast of days from an hour of the day the log holds some horizons only.
        (logged(days=1, as_of=Timestamp(seconds=NOON)), "days=1&as_of=2023-11-10T12:00:00Z", True),
        (logged(days=1, as_of=Timestamp(seconds=NOON)), "days=2&as_of=2023-11-10T12:00:00Z", False),
        (logged(days=1, as_of=Timestamp(seconds=NOON)), "days=1&as_of=2023-11-09", False),
    ],
)
async def test_forecast_from_an_hour_is_given_again_where_the_log_holds_it_whole(
    entries: list[tr.LoggedForecast], query: str, answered: bool
) -> None:
    async with world() as there:
        there.training.logged = entries
        status, document = await get(there, f"ids=bitcoin&{query}")
    assert status == 200
    (found,) = document["forecasts"]
    assert found["reconstructed"] is not answered
    if answered and "hours" in query:
        assert [point["horizon_hours"] for point in found["points"]] == list(
            range(1, len(found["points"]) + 1)
        )
        assert found["points"][0]["closes_at"] > found["as_of"]


@pytest.mark.parametrize(
    "as_of", ["0001-01-01", "9999-12-31", "0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59-12:00"]
)
async def test_moment_far_away_is_passed_on_within_bounds(as_of: str) -> None:
    """The forecast service says what is wrong with it: nothing was stored then, or it has not closed yet."""
    async with world() as there:
        there.training.logged = []
        await get(there, f"ids=bitcoin&as_of={as_of}")
        assert there.forecast.script.requested(fc.GetForecastsRequest).as_of_date[:4] in {
            "1970",
            "1971",
            "8999",
            "9000",
        }


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("as_of=2023-13-01", 422),
        ("as_of=yesterday", 422),
        ("as_of=1700000000", 422),
        ("as_of=2023-11-09T25:00:00Z", 422),
    ],
)
async def test_bad_day_names_its_field(query: str, expected: int) -> None:
    async with world() as there:
        status, problem = await get(there, f"ids=bitcoin&{query}")
    assert status == expected
    assert problem["field"] == "as_of"


async def test_log_that_cannot_be_read_is_an_error_and_nothing_is_made_up() -> None:
    async with world() as there:
        there.training.script.error = Unavailable("the log is away")
        status, _ = await get(there, "ids=bitcoin&as_of=2023-11-09")
    assert status == 503
