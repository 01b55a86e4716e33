"""Conversion of forecasts to dictionaries: intervals by level, provenance beside the figures."""

from __future__ import annotations

from typing import Any

from coincast.common.v1.common_pb2 import ItemError
from coincast.forecast.v1 import forecast_pb2 as pb
from coincast_gateway.serialization.proto import enum_name, iso, to_dict, unix_seconds


def forecasts_document(response: pb.GetForecastsResponse) -> dict[str, Any]:
    """Return `{"forecasts": [...], "errors": [...]}`."""
    return {
        "forecasts": [forecast(item) for item in response.forecasts],
        "errors": [item_error(item) for item in response.errors],
    }


def item_error(error: ItemError) -> dict[str, Any]:
    """Return one item that could not be served."""
    document = to_dict(error)
    document["field"] = error.field or None
    if document["retry_after_seconds"] is not None:
        document["retry_after_seconds"] = max(1, min(60, round(document["retry_after_seconds"])))
    return document


def forecast(item: pb.Forecast) -> dict[str, Any]:
    """Return one coin's forecast."""
    return {
        "id": item.id,
        "vs_currency": item.vs_currency,
        "as_of": iso(item.as_of),
        "age_seconds": item.provenance.age_seconds,
        "last_price": item.last_price,
        "model": item.model,
        "version": item.version,
        "served_by": item.served_by,
        "variant": item.variant,
        "degraded": item.degraded,
        "reason": item.reason or None,
        "source": enum_name(item.provenance, "source"),
        "stale": item.provenance.stale,
        "points": [point(each) for each in item.points],
        "record": to_dict(item.record) if item.HasField("record") else None,
        "attributions": [to_dict(each) for each in item.attributions],
        "attributions_reason": item.attributions_reason or None,
        "forecast_id": item.forecast_id,
        "reconstructed": item.reconstructed,
    }


def point(item: pb.ForecastPoint) -> dict[str, Any]:
    """Return the distribution of the price at the close of one day or hour."""
    volatility = to_dict(item.volatility) if item.HasField("volatility") else None
    return {
        "date": item.date,
        "horizon_days": item.horizon_days,
        "horizon_hours": item.horizon_hours or None,
        "closes_at": iso(item.closes_at) if item.HasField("closes_at") else None,
        "price": item.price,
        "intervals": {
            f"{each.level_percent:g}": {"lower": each.lower, "upper": each.upper} for each in item.intervals
        },
        "quantiles": {f"{each.probability:g}": each.price for each in item.quantiles},
        "probability_of_rise": item.probability_of_rise if item.HasField("probability_of_rise") else None,
        "volatility": volatility,
    }


def oldest_as_of(response: pb.GetForecastsResponse) -> float | None:
    """Return the UNIX seconds of the oldest close that any of the forecasts is based on."""
    return min((unix_seconds(item.as_of) for item in response.forecasts), default=None)
