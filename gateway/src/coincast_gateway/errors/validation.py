"""From the words of a request to its query model, or to a problem that names the field and the fix."""

from __future__ import annotations

import difflib
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from coincast_gateway.errors.problems import INVALID, Kind, Problem

Model = TypeVar("Model", bound=BaseModel)
MAX_PARAMETERS = 50


class ProblemException(Exception):  # noqa: N818 - it is an answer, not a failure
    """The request gets this problem as its answer."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def refuse(kind: Kind, detail: str, **more: Any) -> ProblemException:
    """A problem to raise."""
    return ProblemException(Problem(kind, detail, **more))


def parameters(query_string: bytes) -> dict[str, str]:
    """The query as a dictionary. Refuses what is not UTF-8, and a parameter that is given twice."""
    try:
        pairs = parse_qsl(
            query_string.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MAX_PARAMETERS,
        )
    except ValueError as error:
        raise refuse(
            INVALID, "The query string is not percent-encoded UTF-8 with at most 50 parameters."
        ) from error
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise refuse(INVALID, f"The parameter {name[:100]!r} is given more than once.", field=name[:100])
        found[name] = value
    return found


def validated(model: type[Model], values: dict[str, Any]) -> Model:
    """The model of these values. Raises Refused with the first thing that is wrong."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ProblemException(explain(model, error)) from None


def explain(model: type[BaseModel], error: ValidationError) -> Problem:
    """One problem for all that is wrong: the first in words, every one of them in `errors`."""
    found = [_one(model, each) for each in error.errors(include_url=False, include_context=False)]
    first = found[0]
    return Problem(
        INVALID, first["message"], field=first["field"], allowed=first["allowed"], errors=tuple(found),
        suggestions=tuple(first.get("suggestions", ())),
    )  # fmt: skip


def _one(model: type[BaseModel], error: ErrorDetails) -> dict[str, Any]:
    field = str(error["loc"][0])[:100] if error["loc"] else ""
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(field, model.model_fields, n=3)
        names = ", ".join(model.model_fields) or "none"
        found = {"field": field, "message": f"There is no parameter {field!r} here.", "allowed": names}
        return {**found, "suggestions": near} if near else found
    message = f"{field}: {error['msg']}."
    if error["type"] == "missing":
        message = f"The parameter {field!r} is missing."
    return {"field": field, "message": message, "allowed": _allowed(model, field)}


def _allowed(model: type[BaseModel], field: str) -> str:
    info = model.model_fields.get(field)
    if info is None:
        return ""
    schema = model.model_json_schema()["properties"].get(field, {})
    allowed = info.description or ""
    if "enum" in schema:
        allowed += f" One of {', '.join(str(each) or '(empty)' for each in schema['enum'])}."
    if "minimum" in schema or "maximum" in schema:
        allowed += f" From {schema.get('minimum', '-')} to {schema.get('maximum', '-')}."
    return allowed.strip()
