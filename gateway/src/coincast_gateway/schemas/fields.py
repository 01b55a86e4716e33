"""Parameter types and base classes that the request schemas share."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

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
