"""Response models derived from the messages of the contracts, so that both always agree."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from pydantic import BaseModel, create_model

from coincast_gateway.schemas.responses.common import ResponseModel
from coincast_gateway.serialization import ID_LISTS, enum_names

_STAMP = "google.protobuf.Timestamp"
_SCALARS: dict[int, Any] = {
    FieldDescriptor.CPPTYPE_BOOL: bool,
    FieldDescriptor.CPPTYPE_STRING: str,
    # NaN and infinities become null in JSON.
    FieldDescriptor.CPPTYPE_DOUBLE: float | None,
    FieldDescriptor.CPPTYPE_FLOAT: float | None,
}


def response_model_for(message: type[Message]) -> type[BaseModel]:
    """Return the model of the dictionary that `serialization.to_dict` makes of a message."""
    return _model_for(message.DESCRIPTOR)


@cache
def _model_for(descriptor: Descriptor) -> type[BaseModel]:
    fields: dict[str, Any] = {field.name: (_type(field), ...) for field in descriptor.fields}
    # The model of coincast.training.v1.Job is TrainingJob, since names must be unique across packages.
    package = descriptor.full_name.split(".")[1].title()
    return create_model(
        f"{package}{descriptor.name}", __base__=ResponseModel, __doc__=_doc(descriptor), **fields
    )


def _doc(descriptor: Descriptor) -> str:
    return f"As `{descriptor.name}` in the contract `{descriptor.full_name.rpartition('.')[0]}`."


def _type(field: Any) -> Any:
    kind: Any = _item_type(field)
    if field.is_repeated:
        return list[kind]
    return kind | None if field.has_presence else kind


def _item_type(field: Any) -> Any:
    if field.enum_type is not None:
        return Literal[tuple(enum_names(field.enum_type).values())]
    if field.name in ID_LISTS:
        return list[str]
    if field.message_type is not None:
        return str if field.message_type.full_name == _STAMP else _model_for(field.message_type)
    return _SCALARS.get(field.cpp_type, int)
