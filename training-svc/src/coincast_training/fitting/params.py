"""Reads the parameters of a recipe into its typed form, with errors that name the field and the fix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

P = TypeVar("P", bound=BaseModel)


def read_params(kind: type[P], raw: Mapping[str, Any], *, model: str) -> P:
    """The typed parameters. Raises ValueError that names every wrong field, what it was and what it must
    be.
    """
    try:
        return kind.model_validate(dict(raw))
    except ValidationError as error:
        faults = "; ".join(_fault(kind, e) for e in error.errors())
        raise ValueError(f"{model} parameters: {faults}") from error


def _fault(kind: type[BaseModel], fault: Any) -> str:
    where = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"{where} is not a parameter (there are {', '.join(sorted(kind.model_fields))})"
    return f"{where}: {fault['msg'][0].lower()}{fault['msg'][1:]}, got {fault['input']!r}"
