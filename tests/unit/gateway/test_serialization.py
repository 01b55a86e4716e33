"""Forecasts by the hour over REST: the parameter, its bounds, and the points' moments."""

from __future__ import annotations

import datetime as dt

import pytest
from pydantic import ValidationError

from coincast.forecast.v1 import forecast_pb2 as pb
from coincast_gateway.formats.csv import forecast_rows
from coincast_gateway.schemas.requests.forecasts import ForecastsQuery
from coincast_gateway.schemas.responses.forecasts import Forecast
from coincast_gateway.serialization import forecast


def hourly_forecast() -> pb.Forecast:
    """Return a forecast of two hours."""
    message = pb.Forecast(id="bitcoin", vs_currency="usd", last_price=100.0, served_by="intraday")
    message.as_of.FromDatetime(dt.datetime(2026, 3, 1, 17))  # noqa: DTZ001 - protobuf takes it naive
    for hour in (1, 2):
        point = message.points.add(date="2026-03-01", horizon_hours=hour, price=100.0)
        point.closes_at.FromDatetime(dt.datetime(2026, 3, 1, 17 + hour))  # noqa: DTZ001
        point.intervals.add(level_percent=80, lower=98.0, upper=102.0)
    return message


def test_points_by_the_hour_name_their_moment() -> None:
    document = forecast(hourly_forecast())
    Forecast.model_validate(document)
    assert [p["horizon_hours"] for p in document["points"]] == [1, 2]
    assert document["points"][1]["closes_at"].startswith("2026-03-01T19:00:00")
    assert document["points"][1]["horizon_days"] == 0


def test_points_by_the_day_have_no_hours() -> None:
    message = pb.Forecast(points=[pb.ForecastPoint(date="2026-03-01", horizon_days=1, price=1.0)])
    point = forecast(message)["points"][0]
    assert (point["horizon_hours"], point["closes_at"]) == (None, None)


def test_csv_has_columns_of_hours_for_hours_alone() -> None:
    document = {"forecasts": [forecast(hourly_forecast())]}
    assert next(iter(forecast_rows(document)))["horizon_hours"] == 1
    daily = pb.Forecast(points=[pb.ForecastPoint(date="2026-03-01", horizon_days=1, price=1.0)])
    assert "horizon_hours" not in next(iter(forecast_rows({"forecasts": [forecast(daily)]})))


@pytest.mark.parametrize("hours", ["0", "49", "1.5", "soon"])
def test_hours_out_of_range_are_refused(hours: str) -> None:
    with pytest.raises(ValidationError, match="hours"):
        ForecastsQuery.model_validate({"ids": "bitcoin", "hours": hours})


def test_hours_are_left_out_unless_given() -> None:
    assert ForecastsQuery.model_validate({"ids": "bitcoin"}).hours is None
    assert ForecastsQuery.model_validate({"ids": "bitcoin", "hours": "24"}).hours == 24
