"""Request validation: errors become problems that name the field and the fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter, ValidationError

from coincast_gateway.errors.problems import INVALID, Kind, Problem

Model = TypeVar("Model", bound=BaseModel)
MAX_PARAMETERS = 50
Fields = dict[str, tuple[str, dict[str, Any]]]
# The attribute of a route in which its fields are cached.
FIELDS = "coincast_parameter_fields"


class ProblemException(Exception):  # noqa: N818 - it is an answer to the client, not a failure
    """Raised to answer a request with a problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def reject(kind: Kind, detail: str, **more: Any) -> ProblemException:
    """Return an exception with a problem of a kind; `more` are further fields of the problem."""
    return ProblemException(Problem(kind, detail, **more))


def parse_query(query_string: bytes) -> dict[str, str]:
    """Return the query parameters by name.

    Raises:
        ProblemException: If the query is not UTF-8 or a parameter is given twice.
    """
    try:
        pairs = parse_qsl(
            query_string.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MAX_PARAMETERS,
        )
    except ValueError as error:
        raise reject(
            INVALID, "The query string is not percent-encoded UTF-8 with at most 50 parameters."
        ) from error
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise reject(INVALID, f"The parameter {name[:100]!r} is given more than once.", field=name[:100])
        found[name] = value
    return found


async def strict_query(request: Request) -> None:
    """Reject repeated and unknown query parameters; a dependency of the whole application.

    Raises:
        ProblemException: A query parameter is repeated or unknown.
    """
    given = parse_query(request.scope["query_string"])
    route = request.scope.get("route")
    if given and isinstance(route, APIRoute):
        known = parameter_fields(route)
        old = old_names(route)
        unknown = [name for name in given if name not in old and known.get(name, ("",))[0] != "query"]
        if unknown:
            raise ProblemException(explain_request(route, [unknown_parameter(name) for name in unknown]))


def old_names(route: APIRoute) -> dict[str, str]:
    """Return the deprecated names of a route's query parameters, each with its current name."""
    models = [param.field_info.annotation for param in route.dependant.query_params]
    return {old: new for each in models for old, new in getattr(each, "old_names", {}).items()}


def unknown_parameter(name: str) -> dict[str, Any]:
    """Return the error of an unknown query parameter, in the form of pydantic's errors."""
    return {"type": "extra_forbidden", "loc": ("query", name), "msg": "Unknown parameter"}


def validate(route: APIRoute, model: type[Model], values: dict[str, Any]) -> Model:
    """Return the query parameters as an instance of their model.

    Args:
        route: The route, whose parameters the problem describes.
        model: The query model.
        values: The parameters by name.

    Raises:
        ProblemException: A value is missing, unknown or out of range.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        errors = [{**each, "loc": ("query", *each["loc"])} for each in error.errors(include_url=False)]
        raise ProblemException(explain_request(route, errors)) from None


def explain_request(route: Any, errors: Sequence[Any]) -> Problem:
    """Return one problem for all validation errors.

    Args:
        route: The route of the request; None if no route matched.
        errors: Errors in pydantic's form. The first one becomes the text of the problem, and all are listed
            in its `errors`.
    """
    fields = parameter_fields(route) if isinstance(route, APIRoute) else {}
    found = [_explain(fields, each) for each in errors]
    first = found[0]
    return Problem(
        INVALID,
        first["message"],
        field=first["field"],
        allowed=first["allowed"],
        errors=tuple(found),
        suggestions=tuple(first.get("suggestions", ())),
    )


def parameter_fields(route: APIRoute) -> Fields:
    """Return the parameters and body fields of a route: name to (location, JSON schema)."""
    found: Fields | None = getattr(route, FIELDS, None)
    if found is None:
        found = _read_fields(route)
        setattr(route, FIELDS, found)
    return found


def _read_fields(route: APIRoute) -> Fields:
    found: Fields = {}
    parts = list(_with_dependencies(route.dependant))
    groups = {
        "path": [param for part in parts for param in part.path_params],
        "query": [param for part in parts for param in part.query_params],
        "header": [param for part in parts for param in part.header_params],
        "body": [param for part in parts for param in part.body_params],
    }
    for location, params in groups.items():
        for param in params:
            annotation: Any = param.field_info.annotation
            models = [each for each in _options(annotation) if _is_model(each)]
            if models and location in ("query", "body"):
                schema = models[0].model_json_schema()
                found |= {name: (location, spec) for name, spec in schema.get("properties", {}).items()}
                continue
            spec = TypeAdapter[Any](annotation).json_schema()
            spec["description"] = param.field_info.description or spec.get("description", "")
            found[param.alias] = (location, spec)
    return found


def _with_dependencies(dependant: Dependant) -> Iterator[Dependant]:
    """Yield a dependant and, recursively, its dependencies, whose parameters the route takes as well."""
    yield dependant
    for each in dependant.dependencies:
        yield from _with_dependencies(each)


def _options(annotation: Any) -> tuple[Any, ...]:
    return getattr(annotation, "__args__", None) or (annotation,)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _explain(fields: Fields, error: Any) -> dict[str, Any]:
    location, *path = error["loc"]
    field = str(path[0])[:100] if path else str(location)
    if error["type"] == "json_invalid":
        return {"field": "body", "message": "The body is not JSON.", "allowed": "a JSON object"}
    if location == "body" and not path:
        return {"field": "body", "message": "The body must be a JSON object.", "allowed": "a JSON object"}
    if error["type"] == "given_twice":
        new = error["ctx"]["new"]
        return {
            "field": new,
            "message": f"{error['msg']}.",
            "allowed": _allowed(fields.get(new, ("", {}))[1]),
        }
    if error["type"] == "extra_forbidden":
        names = [name for name, (where, _) in fields.items() if where == location]
        near = difflib.get_close_matches(field, names, n=3)
        message = f"There is no parameter {field!r} here."
        found = {"field": field, "message": message, "allowed": ", ".join(names) or "none"}
        return {**found, "suggestions": near} if near else found
    message = f"{field}: {error['msg']}."
    if error["type"] == "missing":
        message = f"The parameter {field!r} is missing."
    return {"field": field, "message": message, "allowed": _allowed(fields.get(field, ("", {}))[1])}


def _allowed(schema: dict[str, Any]) -> str:
    allowed = str(schema.get("description", ""))
    if "enum" in schema:
        allowed += f" One of {', '.join(str(each) or '(empty)' for each in schema['enum'])}."
    if "minimum" in schema or "maximum" in schema:
        allowed += f" From {schema.get('minimum', '-')} to {schema.get('maximum', '-')}."
    return allowed.strip()
