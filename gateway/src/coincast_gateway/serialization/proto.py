"""Any message as a dictionary: for replies that are not on the hot path."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from coincast.common.v1.common_pb2 import Provenance


def iso(stamp: Timestamp) -> str:
    """A timestamp as RFC 3339 in UTC, to the second where it has no fraction."""
    moment = datetime.fromtimestamp(stamp.seconds + stamp.nanos / 1e9, UTC)
    spec = "milliseconds" if moment.microsecond else "seconds"
    return moment.isoformat(timespec=spec).replace("+00:00", "Z")


def unix_seconds(stamp: Timestamp) -> float:
    """A timestamp as UNIX seconds."""
    return stamp.seconds + stamp.nanos / 1e9


@lru_cache(maxsize=64)
def enum_names(enum: EnumDescriptor) -> dict[int, str]:
    """Each value of an enum as a lower-case word: SOURCE_LIVE of Source becomes `live`."""
    prefix = "".join(f"_{c}" if c.isupper() else c.upper() for c in enum.name).lstrip("_").upper() + "_"
    return {value.number: value.name.removeprefix(prefix).lower() for value in enum.values}


def enum_name(message: Message, field: str) -> str:
    """The word of an enum field."""
    return enum_names(message.DESCRIPTOR.fields_by_name[field].enum_type)[getattr(message, field)]


def to_dict(message: Message) -> dict[str, Any]:
    """Every field by its proto name; absent optional figures, messages and times are null."""
    return {field.name: _field(message, field) for field in message.DESCRIPTOR.fields}


def provenance_fields(provenance: Provenance) -> dict[str, Any]:
    """Where a figure stands, as market-data-svc's ready JSON says it."""
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
    return to_dict(value) if isinstance(value, Message) else value
