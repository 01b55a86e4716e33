"""Convert protobuf messages to dictionaries that are encoded as JSON.

`to_dict` converts any message by its descriptor. Forecasts have functions of their own, since their JSON has
another shape: intervals by level, and the fields of the provenance beside the figures.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from coincast.common.v1.common_pb2 import ItemError, Provenance
from coincast.forecast.v1 import forecast_pb2 as pb

# Fields of the contract that hold ids separated by commas; in JSON they are lists.
ID_LISTS = frozenset({"test_coins"})


def iso(stamp: Timestamp) -> str:
    """Return a timestamp as RFC 3339 in UTC, with milliseconds if it has a fraction of a second."""
    return iso_seconds(stamp.seconds + stamp.nanos / 1e9)


def iso_seconds(unix: float) -> str:
    """Return UNIX seconds as RFC 3339 in UTC, with milliseconds if there is a fraction of a second."""
    moment = datetime.fromtimestamp(unix, UTC)
    spec = "milliseconds" if moment.microsecond else "seconds"
    return moment.isoformat(timespec=spec).replace("+00:00", "Z")


def iso_moment(moment: datetime) -> str:
    """Return a moment as RFC 3339 in UTC, with all its digits: it is that of the request."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


@lru_cache(maxsize=64)
def enum_names(enum: EnumDescriptor) -> dict[int, str]:
    """Return each value of an enum as a lower-case word: SOURCE_LIVE of Source becomes `live`."""
    prefix = "".join(f"_{c}" if c.isupper() else c.upper() for c in enum.name).lstrip("_").upper() + "_"
    return {value.number: value.name.removeprefix(prefix).lower() for value in enum.values}


def enum_name(message: Message, field: str) -> str:
    """Return the value of an enum field as a lower-case word."""
    return enum_names(message.DESCRIPTOR.fields_by_name[field].enum_type)[getattr(message, field)]


def to_dict(message: Message) -> dict[str, Any]:
    """Return every field by its proto name; an optional field that is not set is None."""
    return {field.name: _field(message, field) for field in message.DESCRIPTOR.fields}


def provenance_fields(provenance: Provenance) -> dict[str, Any]:
    """Return the provenance of a figure as market-data-svc writes it in its own JSON."""
    return {
        "as_of": iso(provenance.as_of) if provenance.HasField("as_of") else None,
        "age_seconds": provenance.age_seconds,
        "source": enum_name(provenance, "source"),
        "stale": provenance.stale,
        "reason": provenance.reason or None,
    }


def _field(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    if field.is_repeated:
        return [_value(item, field) for item in value]
    if field.has_presence and not message.HasField(field.name):
        return None
    return _value(value, field)


def _value(value: Any, field: Any) -> Any:
    if field.enum_type is not None:
        return enum_names(field.enum_type)[value]
    if isinstance(value, Timestamp):
        return iso(value)
    if field.name in ID_LISTS:
        return [part for each in value.split(",") if (part := each.strip())]
    return to_dict(value) if isinstance(value, Message) else value


def forecasts_document(response: pb.GetForecastsResponse) -> dict[str, Any]:
    """Return `{"forecasts": [...], "errors": [...]}`."""
    return {
        "forecasts": [forecast(item) for item in response.forecasts],
        "errors": [item_error(item) for item in response.errors],
    }


# Names of fields in the contracts, and of the parameters that they come from.
REST_NAMES = {
    "known_at": "as_of",
    "from_date": "from",
    "to_date": "to",
    "horizon_days": "horizon",
    "horizon_hours": "hours",
    "levels_percent": "levels",
    "quantile_probabilities": "quantiles",
    "attribution_features": "features",
}
_CONTRACT_NAME = re.compile(rf"\b({'|'.join(REST_NAMES)})\b")


def rest_name(field: str) -> str:
    """Return the parameter that a field of a contract comes from."""
    return REST_NAMES.get(field, field)


def in_rest_names(message: str) -> str:
    """Return an error message with parameters in place of the fields of a contract."""
    return _CONTRACT_NAME.sub(lambda found: REST_NAMES[found[1]], message)


def item_error(error: ItemError) -> dict[str, Any]:
    """Return the error of an item that could not be served, with `retry_after_seconds` between 1 and 60."""
    document = to_dict(error)
    document["field"] = rest_name(error.field) or None
    document["message"] = in_rest_names(error.message)
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
        "hourly_version": item.hourly_version or None,
        "as_of_reason": item.as_of_reason or None,
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
            f"{each.level_percent:.10g}": {"lower": each.lower, "upper": each.upper}
            for each in item.intervals
        },
        "quantiles": {f"{each.probability:.10g}": each.price for each in item.quantiles},
        "probability_of_rise": item.probability_of_rise if item.HasField("probability_of_rise") else None,
        "volatility": volatility,
    }
