"""Requests for joint scenarios, touch probabilities and portfolio risk."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, cast

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from coincast_gateway.schemas.parameters import (
    CoinId,
    CoinIds,
    Currency,
    PlainInteger,
    TableQuery,
    WholeNumber,
    join_repeated,
)
from coincast_gateway.schemas.requests.forecasts import ReconstructedMoment, RequestedModel
from coincast_gateway.schemas.requests.training import Body

MAX_LEVELS = 10
MAX_HOLDINGS = 250
MAX_SIZE = 1e15
# Values of one scenario reply: coins x days x paths.
MAX_VALUES = 200_000
_LEVEL = re.compile(r"([+-]?[0-9]{1,15}(?:\.[0-9]{1,12})?(?:[eE][+-]?[0-9]{1,2})?)(%?)")
# The pattern of a level in OpenAPI: a price above 0, or a move above -100 % that ends with a percent sign.
_PRICE_PATTERN = r"(0\.[0-9]{0,11}[1-9]|[1-9][0-9]{0,14}(\.[0-9]{1,12})?)"
_MOVE_PATTERN = r"([+]?[0-9]{1,5}|-[0-9]{1,2})(\.[0-9]{1,12})?%"
_LEVEL_PATTERN = rf"({_PRICE_PATTERN}|{_MOVE_PATTERN})"
DEFAULT_RISK_LEVELS = (90.0, 95.0, 97.5, 99.0)

RiskDays = Annotated[
    int, Field(ge=1, le=14, description="The longest horizon in days.", examples=[7]), PlainInteger
]


def _touch_levels(value: Any) -> Any:
    """Return (kind, number) of each level; the kind is `price`, or `percent` if it has a percent sign."""
    value = join_repeated(value)
    if not isinstance(value, str):
        return value
    levels = []
    for part in value.split(","):
        # A plus sign in a query string arrives as a space.
        match = _LEVEL.fullmatch(part.strip())
        number = float(match[1]) if match else math.nan
        percent = bool(match and match[2])
        if not (-100 < number <= 1e6 if percent else 0 < number <= MAX_SIZE):
            raise PydanticCustomError(
                "touch_level",
                "Give prices above 0, or moves above -100 % with a percent sign, such as {example}",
                {"example": "120000,-5%"},
            )
        levels.append(("percent" if percent else "price", number))
    return tuple(dict.fromkeys(levels))


TouchLevels = Annotated[
    tuple[tuple[str, float], ...],
    BeforeValidator(_touch_levels),
    Field(min_length=1, max_length=MAX_LEVELS),
    WithJsonSchema(
        {"type": "string", "pattern": rf"^{_LEVEL_PATTERN}(,{_LEVEL_PATTERN}){{0,{MAX_LEVELS - 1}}}$"}
    ),
    Field(
        description="Prices, or moves in percent of the last price such as -5%, at most 10, separated by "
        "commas.",
        examples=["5%,-5%"],
    ),
]


class TouchQuery(TableQuery):
    """Query of the probabilities that prices touch levels."""

    ids: Annotated[CoinIds, Field(examples=["bitcoin,ethereum"])]
    level: TouchLevels
    days: RiskDays = 7
    model: RequestedModel = "auto"
    vs_currency: Currency = "usd"
    as_of: ReconstructedMoment | None = None


class ScenariosQuery(TableQuery):
    """Joint price paths of several coins."""

    ids: Annotated[CoinIds, Field(examples=["bitcoin,ethereum"])]
    days: RiskDays = 7
    paths: Annotated[
        int,
        Field(
            ge=1,
            le=1000,
            description="Number of paths, whose past start days are spread evenly. Coins x days x paths may "
            f"be at most {MAX_VALUES:,}.",
            examples=[20],
        ),
        PlainInteger,
    ] = 100
    model: RequestedModel = "auto"
    vs_currency: Currency = "usd"
    as_of: ReconstructedMoment | None = None


Size = Annotated[float | None, Field(ge=-MAX_SIZE, le=MAX_SIZE, strict=False)]


def _describe_one_size(schema: JsonDict) -> None:
    """Describe a holding as one of two schemas, by amount or by value, as `check_size` requires.

    Generated clients get two types, each with exactly one size.
    """
    properties = cast("dict[str, JsonDict]", schema.pop("properties"))
    for name in ("required", "additionalProperties", "type"):
        schema.pop(name, None)
    schema["oneOf"] = [
        {
            "title": title,
            "type": "object",
            "description": f"A holding of one coin, as {words}.",
            "additionalProperties": False,
            "required": ["id", given],
            "properties": {
                "id": properties["id"],
                given: {
                    "title": properties[given]["title"],
                    "description": properties[given]["description"],
                    "type": "number",
                    "minimum": -MAX_SIZE,
                    "maximum": MAX_SIZE,
                    "not": {"const": 0},
                },
                left_out: {"type": "null", "description": f"Absent or null, since {given} is given."},
            },
        }
        for title, given, left_out, words in (
            ("HoldingByAmount", "amount", "value", "an amount of coins"),
            ("HoldingByValue", "value", "amount", "a value in the currency"),
        )
    ]


class HoldingBody(Body):
    """A holding of one coin: an amount of coins or a value in vs_currency; negative for a short position."""

    model_config = ConfigDict(json_schema_extra=_describe_one_size)

    id: CoinId
    amount: Annotated[Size, Field(description="In coins; negative for a short position.")] = None
    value: Annotated[Size, Field(description="In vs_currency; negative for a short position.")] = None

    @model_validator(mode="after")
    def check_size(self) -> HoldingBody:
        """Check that exactly one of amount and value is given, and that it is not 0."""
        sizes = [size for size in (self.amount, self.value) if size is not None]
        if len(sizes) != 1 or sizes[0] == 0:
            raise PydanticCustomError("holding_size", "Give either amount or value, other than 0")
        return self


class PortfolioBody(Body):
    """Holdings, with the horizon and the confidence levels of the losses."""

    holdings: Annotated[
        list[HoldingBody],
        Field(
            min_length=1,
            max_length=MAX_HOLDINGS,
            description="The holdings, one entry per coin.",
            examples=[[{"id": "bitcoin", "value": 6000}, {"id": "ethereum", "amount": -1}]],
        ),
    ]
    days: Annotated[int, Field(ge=1, le=14, description="Days ahead.", examples=[7]), WholeNumber] = 7
    levels: Annotated[
        list[Annotated[float, Field(ge=50, le=99.9, strict=False)]],
        Field(
            default_factory=lambda: list(DEFAULT_RISK_LEVELS),
            min_length=1,
            max_length=MAX_LEVELS,
            description="Levels of value at risk in percent, 50 to 99.9.",
            examples=[[95, 99]],
        ),
    ]
    model: RequestedModel = "auto"
    vs_currency: Currency = "usd"
    as_of: ReconstructedMoment | None = None
