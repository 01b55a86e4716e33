"""Parameters of requests: their types, how they are read, and what is said of a faulty one.

The query models of `requests/` are made of the types and base classes here. `parse_query` and `validate` read
a query string into such a model; every error becomes one problem that names the field and the fix.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, ClassVar, Literal, TypeVar
from urllib.parse import parse_qsl

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from coincast_gateway.errors.problems import INVALID, Problem, ProblemException, reject

Model = TypeVar("Model", bound=BaseModel)
MAX_PARAMETERS = 50
MAX_IDS = 250
MAX_CURRENCIES = 20
# A coin id: lower-case letters, digits and a few other characters. None of them can escape a path or a log
# line.
COIN_ID = re.compile(r"[a-z0-9][a-z0-9._\-]{0,127}\Z")
CURRENCY = r"^[A-Za-z]{2,10}$"
# From 1 to 99.9, with at most six decimals.
LEVEL = r"(([1-9]|[1-8][0-9]|9[0-8])(\.[0-9]{1,6})?|99(\.[0-8][0-9]{0,5}|\.90{0,5})?)"
# Above 0 and below 1, with at most six decimals.
PROBABILITY = rf"0\.({'|'.join(f'0{{{zeros}}}[1-9][0-9]{{0,{5 - zeros}}}' for zeros in range(6))})"
TEXT_ID = r"^[A-Za-z0-9][A-Za-z0-9._\-]{0,127}$"


class RequestQuery(BaseModel):
    """Base of all query models: unknown parameters are rejected, and instances are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RenamedQuery(RequestQuery):
    """Base of query models with renamed parameters, whose old names are still accepted.

    `old_names` maps an old name to the current one. OpenAPI describes only the current name.
    """

    old_names: ClassVar[dict[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _rename(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        renamed = dict(values)
        for old, new in cls.old_names.items():
            if old not in renamed:
                continue
            # FastAPI fills in defaults before validation, so an empty value does not count as given.
            if renamed.get(new) not in (None, ""):
                raise PydanticCustomError("given_twice", "Give {new} without {old}", {"new": new, "old": old})
            renamed[new] = renamed.pop(old)
        return renamed


class TableQuery(RequestQuery):
    """Base of query models of routes that also answer with tables."""

    format: Annotated[
        Literal["json", "csv", "arrow", "parquet"] | None,
        Field(description="The format of the reply, in place of the Accept header."),
    ] = None


def _list_parser(limit: int, what: str) -> Callable[[Any], tuple[str, ...]]:
    """Return a validator that splits comma-separated text into at most `limit` distinct lower-case items."""

    def split(value: Any) -> tuple[str, ...]:
        text = value if isinstance(value, str) else ",".join(value)
        items = tuple(
            dict.fromkeys(part for part in (raw.strip().lower() for raw in text.split(",")) if part)
        )
        if not items:
            raise PydanticCustomError(
                "list_empty", "Name at least one {what}, separated by commas", {"what": what}
            )
        if len(items) > limit:
            raise PydanticCustomError(
                "list_too_long",
                "At most {limit} {what}s to a request; {given} were given",
                {"limit": limit, "what": what, "given": len(items)},
            )
        return items

    return split


def join_repeated(value: Any) -> Any:
    """Join the values of a parameter, which FastAPI passes as a list, to one comma-separated text."""
    if isinstance(value, list | tuple) and value and all(isinstance(each, str) for each in value):
        return ",".join(value)
    return value


def _parse_numbers(value: Any) -> Any:
    value = join_repeated(value)
    if not isinstance(value, str):
        return value
    parts = [part.strip() for part in value.split(",")]
    if not all(re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,6})?", part) for part in parts):
        raise PydanticCustomError(
            "numbers",
            "Give plain decimal numbers, separated by commas, such as {example}",
            {"example": "80,95"},
        )
    return tuple(dict.fromkeys(float(part) for part in parts))


def _plain_integer(value: Any) -> Any:
    # int() would also accept digits of other scripts, plus signs, underscores and blanks.
    if isinstance(value, str) and not re.fullmatch(r"-?[0-9]{1,12}", value):
        raise PydanticCustomError("integer", "Give a whole number in the digits 0 to 9")
    return value


def _whole(value: Any) -> Any:
    # JSON does not distinguish integers from other numbers, so 7.0 means the integer 7.
    return int(value) if isinstance(value, float) and value.is_integer() else value


# Short names of models that are accepted.
MODEL_ALIASES = {"ensemble": "ml_ensemble", "ml-ensemble": "ml_ensemble", "lgbm": "lightgbm"}


def _model_name(value: Any) -> Any:
    """Return the name of a model in lower case, with short names resolved."""
    name = value.strip().lower() if isinstance(value, str) else value
    return MODEL_ALIASES.get(name, name) if isinstance(name, str) else name


ModelSpelling = BeforeValidator(_model_name)
PlainInteger = BeforeValidator(_plain_integer)
WholeNumber = BeforeValidator(_whole)

CoinIds = Annotated[
    tuple[str, ...],
    BeforeValidator(_list_parser(MAX_IDS, "coin id")),
    WithJsonSchema({"type": "string", "minLength": 1}),
    Field(
        description="CoinGecko ids, 1 to 250, separated by commas; case and duplicates make no difference."
    ),
]

Currencies = Annotated[
    tuple[Annotated[str, StringConstraints(pattern=CURRENCY)], ...],
    BeforeValidator(_list_parser(MAX_CURRENCIES, "currency")),
    WithJsonSchema({"type": "string", "pattern": r"^[A-Za-z]{2,10}(,[A-Za-z]{2,10}){0,19}$"}),
    Field(description="Currencies to quote in, 1 to 20, separated by commas."),
]

Currency = Annotated[
    str,
    StringConstraints(pattern=CURRENCY, to_lower=True),
    Field(description="The currency of all money figures."),
]

CoinId = Annotated[
    str,
    StringConstraints(to_lower=True, pattern=TEXT_ID),
    Field(description="A CoinGecko id.", examples=["bitcoin"]),
]

Levels = Annotated[
    tuple[Annotated[float, Field(ge=1, le=99.9)], ...],
    BeforeValidator(_parse_numbers),
    Field(min_length=1, max_length=10),
    WithJsonSchema({"type": "string", "pattern": rf"^{LEVEL}(,{LEVEL}){{0,9}}$"}),
    Field(description="Interval levels in percent, 1 to 99.9, at most 10, separated by commas."),
]

Probabilities = Annotated[
    tuple[Annotated[float, Field(gt=0, lt=1)], ...],
    BeforeValidator(_parse_numbers),
    Field(max_length=20),
    WithJsonSchema({"type": "string", "pattern": rf"^{PROBABILITY}(,{PROBABILITY}){{0,19}}$"}),
    Field(description="Probabilities in (0, 1) whose quantiles are wanted, at most 20, separated by commas."),
]


def split_ids(ids: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Return (well-formed ids, malformed ids)."""
    good = [each for each in ids if COIN_ID.match(each)]
    bad = [] if len(good) == len(ids) else [each for each in ids if not COIN_ID.match(each)]
    return good, bad


Fields = dict[str, tuple[str, dict[str, Any]]]
# The attribute of a route in which its fields are cached.
FIELDS = "coincast_parameter_fields"


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
