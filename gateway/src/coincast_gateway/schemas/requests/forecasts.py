"""Requests for forecasts and for the forecast log."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from coincast_gateway.schemas.parameters import (
    CoinId,
    CoinIds,
    Currency,
    Levels,
    ModelSpelling,
    PlainInteger,
    Probabilities,
    RenamedQuery,
    RequestQuery,
    TableQuery,
)

ModelName = Literal["auto", "lightgbm", "lstm", "ml_ensemble", "technical"]
Days = Annotated[
    int,
    Field(ge=1, le=30, description="The longest horizon; every day up to it is forecast.", examples=[7]),
    PlainInteger,
]
Hours = Annotated[
    int | None,
    Field(
        ge=1,
        le=48,
        description="The longest horizon in hours, which replaces days. Every hour up to it is forecast, "
        "from the newest closed hour.",
        examples=[24],
    ),
    PlainInteger,
]

RequestedModel = Annotated[
    ModelName,
    ModelSpelling,
    Field(description="The model; auto selects the one with the best recent accuracy."),
]


def _calendar_day(value: Any) -> Any:
    """Reject text that is not YYYY-MM-DD, since pydantic would read numbers as seconds since 1970."""
    if isinstance(value, str) and not CALENDAR_DAY.fullmatch(value):
        raise PydanticCustomError("calendar_day", "Give a day as YYYY-MM-DD, such as 2026-01-31")
    return value


CALENDAR_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
CalendarDay = Annotated[date, BeforeValidator(_calendar_day)]


# Bounds of past moments: no data is as old or as new, and computations with more distant moments overflow.
FIRST_MOMENT, LAST_MOMENT = datetime(1971, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)


def _past_moment(value: Any) -> Any:
    """Return the close of a given day, or the newest full hour that had ended at a given moment."""
    if not isinstance(value, str) or "T" not in value.upper():
        text = _calendar_day(value)
        try:
            day = date.fromisoformat(text) if isinstance(text, str) else text
        except ValueError:
            raise PAST_MOMENT from None
        if not isinstance(day, date):
            return day
        start = datetime.combine(day, time(), UTC)
        return min(max(start, FIRST_MOMENT), LAST_MOMENT) + timedelta(days=1)
    try:
        # A plus sign in a query string arrives as a space.
        moment = datetime.fromisoformat(value.strip().upper().replace(" ", "+"))
    except ValueError:
        raise PAST_MOMENT from None
    if not FIRST_MOMENT.year < moment.year < LAST_MOMENT.year:
        return FIRST_MOMENT if moment.year <= FIRST_MOMENT.year else LAST_MOMENT
    utc = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    return utc.replace(minute=0, second=0, microsecond=0)


PAST_MOMENT = PydanticCustomError(
    "past_moment", "Give a day as YYYY-MM-DD, such as 2026-01-31, or a moment, such as 2026-01-31T14:00:00Z"
)


def _past_moment_schema(description: str) -> WithJsonSchema:
    return WithJsonSchema(
        {
            "anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}],
            "description": description,
            "examples": ["2025-08-15"],
        }
    )


PastMoment = Annotated[
    datetime,
    BeforeValidator(_past_moment),
    _past_moment_schema(
        "Return the forecast as of the close of this past UTC day, or as of the newest hour that had ended "
        "at this moment. It is the forecast that was served then; if there is none, it is made from what was "
        "known then (`reconstructed: true`)."
    ),
]

ReconstructedMoment = Annotated[
    datetime,
    BeforeValidator(_past_moment),
    _past_moment_schema(
        "Answer as of the close of this past UTC day, or as of the newest hour that had ended at this "
        "moment, from what was known then (`reconstructed: true`)."
    ),
]


class ForecastsQuery(TableQuery):
    """Forecasts of named coins."""

    ids: Annotated[CoinIds, Field(examples=["bitcoin,ethereum"])]
    days: Days = 7
    hours: Hours = None
    model: Annotated[
        Literal["auto", "lightgbm", "lstm", "ml_ensemble", "technical", "intraday"],
        ModelSpelling,
        Field(
            description="The model; auto selects the one with the best recent accuracy. intraday forecasts "
            "hours, the others days."
        ),
    ] = "auto"
    vs_currency: Currency = "usd"
    levels: Annotated[Levels, Field(examples=["80,95"])] = (80.0, 95.0)
    quantiles: Annotated[Probabilities, Field(examples=["0.1,0.5,0.9"])] = ()
    as_of: PastMoment | None = None


class ModelsQuery(TableQuery):
    """Query of the list of models: its format."""


class ExplainQuery(RenamedQuery):
    """Query of the explanation of one coin's forecast."""

    old_names: ClassVar[dict[str, str]] = {"id": "ids"}

    ids: Annotated[CoinId, Field(description="One CoinGecko id; `id` is accepted as well.")]
    days: Days = 7
    model: RequestedModel = "auto"
    vs_currency: Currency = "usd"
    features: Annotated[
        int,
        Field(ge=1, le=20, description="Number of features, those with the largest contributions."),
        PlainInteger,
    ] = 10


LoggedDays = Annotated[
    int, Field(ge=0, le=30, description="Only this horizon in days; 0 for all."), PlainInteger
]
LoggedHours = Annotated[
    int,
    Field(ge=0, le=48, description="Only this horizon in hours, which replaces `horizon`; 0 for all."),
    PlainInteger,
]
LoggedModel = Annotated[
    Literal["", "lightgbm", "lstm", "ml_ensemble", "intraday", "technical", "last_price"],
    ModelSpelling,
    Field(description="Only forecasts for which this model was requested; empty for all."),
]


class LoggedForecastsQuery(RequestQuery):
    """Which forecasts of the log: coins, model, days and horizon."""

    ids: CoinIds | None = Field(None, description="Only these coins; by default all.")
    model: LoggedModel = ""
    from_: Annotated[
        CalendarDay | None,
        Field(
            alias="from", description="Only forecasts that start from the close of this day or a later one."
        ),
    ] = None
    to: Annotated[
        CalendarDay | None,
        Field(description="Only forecasts that start from the close of this day or an earlier one."),
    ] = None
    horizon: LoggedDays = 0
    hours: LoggedHours = 0


class LedgerQuery(LoggedForecastsQuery, TableQuery):
    """Forecasts as they were served."""

    limit: Annotated[
        int, Field(ge=1, le=10_000, description="The most forecasts to return."), PlainInteger
    ] = 1000
