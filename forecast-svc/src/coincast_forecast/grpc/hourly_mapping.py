"""Convert hourly requests to domain objects; `proto_mapping` encodes their replies."""

from __future__ import annotations

from coincast.forecast.v1 import forecast_pb2 as pb
from coincast_chassis.errors import InvalidInput
from coincast_forecast import domain
from coincast_forecast.grpc import proto_mapping
from coincast_forecast.hourly.service import HourlyQuery
from coincast_modelkit.hourly.model import MAX_HORIZON_HOURS, MODEL


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
            f"only {MODEL} forecasts hours: leave model out, or request days from {model[:50]}", field="model"
        )
    if request.attribution_features:
        raise InvalidInput(
            f"{MODEL} has no attributions: leave attribution_features out", field="attribution_features"
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
