"""Convert requests and answers by the hour between protobuf messages and domain objects."""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from coincast.forecast.v1 import forecast_pb2 as pb
from coincast_chassis.clock import Clock
from coincast_chassis.errors import InvalidInput
from coincast_forecast import domain
from coincast_forecast.grpc import proto_mapping
from coincast_forecast.hourly.service import HourlyCoinForecast, HourlyQuery, HourlyResponse
from coincast_modelkit.hourly.model import MAX_HORIZON_HOURS, MODEL

YEAR_DAYS = 365.0


def hourly_query_of(request: pb.GetForecastsRequest) -> HourlyQuery:
    """Return the query of a request with `hours`.

    Raises:
        InvalidInput: A field is out of range or cannot be combined with hours.
    """
    if request.hours > MAX_HORIZON_HOURS:
        raise InvalidInput(f"hours must be 1 to {MAX_HORIZON_HOURS}, not {request.hours}", field="hours")
    if request.days:
        raise InvalidInput("give either hours or days, not both", field="hours")
    if (model := request.model.strip().lower()) not in ("", domain.AUTO, MODEL):
        raise InvalidInput(
            f"hours are forecast by {MODEL}: leave model out, or ask {model[:50]} for days", field="model"
        )
    if request.attribution_features:
        raise InvalidInput(
            f"{MODEL} explains nothing: leave attribution_features out", field="attribution_features"
        )
    return HourlyQuery(
        ids=proto_mapping.parse_ids(request.ids),
        vs_currency=proto_mapping.parse_currency(request.vs_currency),
        hours=request.hours,
        levels_percent=proto_mapping.parse_numbers(request.levels_percent, 1, 99.9, "levels_percent")
        or domain.DEFAULT_LEVELS_PERCENT,
        quantile_probabilities=proto_mapping.parse_numbers(
            request.quantile_probabilities, 0.0005, 0.9995, "quantile_probabilities"
        ),
        as_of=proto_mapping.parse_as_of(request),
    )


def hourly_message(response: HourlyResponse, query: HourlyQuery, clock: Clock) -> pb.GetForecastsResponse:
    """Return the whole reply; the clock gives the age of the data at this moment."""
    message = pb.GetForecastsResponse()
    for forecast in response.forecasts:
        _add(message.forecasts.add(), forecast, query, clock)
    message.errors.extend(proto_mapping.item_error(coin, error) for coin, error in response.errors)
    return message


def _add(message: pb.Forecast, forecast: HourlyCoinForecast, query: HourlyQuery, clock: Clock) -> None:
    made = forecast.forecasts
    message.id, message.vs_currency = forecast.coin_id, query.vs_currency
    message.as_of.FromDatetime(forecast.as_of)
    message.last_price = float(made.last_price[0])
    message.model, message.version, message.served_by = MODEL, forecast.version, forecast.served_by
    message.degraded, message.reason = bool(forecast.reason), forecast.reason
    message.provenance.CopyFrom(proto_mapping.provenance_message(forecast.as_of, forecast.provenance, clock))
    if forecast.served_by == MODEL:
        message.variant = domain.PRODUCTION
    message.forecast_id, message.reconstructed = forecast.forecast_id, forecast.reconstructed
    if (record := proto_mapping.record_message(forecast.record)) is not None:
        message.record.CopyFrom(record)
    prices = made.median_prices()[0]
    rise = made.probability_of_rise()[0]
    bounds = [(level, *made.interval_prices(level)) for level in query.levels_percent]
    quantiles = made.quantile_prices(query.quantile_probabilities) if query.quantile_probabilities else None
    year = 100 * np.sqrt(YEAR_DAYS)
    for i, hour in enumerate(made.horizons):
        closes = forecast.as_of + timedelta(hours=hour)
        # The day whose close or hour is forecast: midnight belongs to the day that ends with it.
        day = (closes - timedelta(microseconds=1)).date()
        point = message.points.add(
            date=day.isoformat(),
            horizon_hours=hour,
            price=float(prices[i]),
            probability_of_rise=float(rise[i]),
        )
        point.closes_at.FromDatetime(closes)
        for level, lower, upper in bounds:
            point.intervals.add(level_percent=level, lower=float(lower[0, i]), upper=float(upper[0, i]))
        if quantiles is not None:
            for j, probability in enumerate(query.quantile_probabilities):
                point.quantiles.add(probability=probability, price=float(quantiles[0, i, j]))
        point.volatility.annualised_percent = float(year * made.volatility[0, i])
        if np.isfinite(trailing := made.trailing_volatility[0, i]):
            point.volatility.trailing_annualised_percent = float(year * trailing)
        if np.isfinite(increase := made.rise_of_volatility[0, i]):
            point.volatility.probability_of_increase = float(increase)
