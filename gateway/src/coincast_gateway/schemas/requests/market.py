"""Requests for market data."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from coincast_gateway.schemas.parameters import (
    CoinIds,
    Currencies,
    Currency,
    PlainInteger,
    RequestQuery,
    TableQuery,
)


class PricesQuery(TableQuery):
    """Spot prices of named coins."""

    ids: Annotated[CoinIds, Field(examples=["bitcoin,ethereum"])]
    vs_currencies: Annotated[Currencies, Field(examples=["usd"])] = ("usd",)


class MarketsQuery(TableQuery):
    """A page of coins by market value, or the named coins."""

    vs_currency: Currency = "usd"
    ids: CoinIds | None = Field(None, description="Only these coins, at most 250.", examples=["bitcoin"])
    page: Annotated[int, Field(ge=1, le=1000, description="The page; the first one is 1."), PlainInteger] = 1
    per_page: Annotated[int, Field(ge=1, le=250, description="Coins on a page."), PlainInteger] = 100


class CoinsQuery(TableQuery):
    """A page of the catalogue, or of the coins that match a search."""

    query: Annotated[
        str,
        Field(
            max_length=100,
            description="Text to search for in id, symbol and name; empty lists all coins.",
            examples=["bit"],
        ),
    ] = ""
    limit: Annotated[int, Field(ge=1, le=1000, description="Coins on a page."), PlainInteger] = 100
    page_token: Annotated[
        str,
        Field(
            max_length=200, pattern=r"^[A-Za-z0-9_=\-]*$", description="next_page_token of the previous page."
        ),
    ] = ""


# The last point of a day arrives some minutes after its close. Only then market-data counts the day as
# closed.
SETTLING = dt.timedelta(minutes=35)
# Bitcoin's first block was mined in 2009, so no candle is older. An earlier moment means the beginning.
FIRST_YEAR, LAST_YEAR = 2009, 2200
FIRST_MOMENT, LAST_MOMENT = (
    dt.datetime(FIRST_YEAR, 1, 1, tzinfo=dt.UTC),
    dt.datetime(LAST_YEAR, 1, 1, tzinfo=dt.UTC),
)


def _moment(value: Any) -> Any:
    """Parse a day, which means its first midnight in UTC, or a moment, which is UTC if it has no zone."""
    if not isinstance(value, str):
        return value
    # A plus sign in a query string arrives as a space.
    text = value.strip().replace(" ", "+") if "T" in value else value.strip()
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise PydanticCustomError(
            "moment", "Give a day or a moment in ISO form, such as {example}", {"example": "2026-01-31"}
        ) from None
    if not FIRST_YEAR <= moment.year < LAST_YEAR:
        return FIRST_MOMENT if moment.year < FIRST_YEAR else LAST_MOMENT
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def _last_moment(value: Any) -> Any:
    """Parse a moment, or a day, which means its last microsecond."""
    moment = _moment(value)
    whole_day = isinstance(value, str) and len(value.strip()) == len("2026-01-31")
    return moment + dt.timedelta(days=1, microseconds=-1) if whole_day else moment


def _as_of_moment(value: Any) -> Any:
    """Return a moment; a date alone means when that day's candle was known, minutes after its close."""
    moment = _moment(value)
    whole_day = isinstance(value, str) and len(value.strip()) == len("2026-01-31")
    return moment + dt.timedelta(days=1) + SETTLING if whole_day else moment


MOMENT_SCHEMA = {
    "type": "string",
    "pattern": r"^20[1-9][0-9]-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])(T[01][0-9]:[0-5][0-9]:[0-5][0-9]Z)?$",
}
Moment = Annotated[dt.datetime, BeforeValidator(_moment), WithJsonSchema(MOMENT_SCHEMA)]
AsOfMoment = Annotated[dt.datetime, BeforeValidator(_as_of_moment), WithJsonSchema(MOMENT_SCHEMA)]
LastMoment = Annotated[dt.datetime, BeforeValidator(_last_moment), WithJsonSchema(MOMENT_SCHEMA)]


def first_moment(from_: dt.datetime | None, to: dt.datetime | None, *, days: int) -> dt.datetime | None:
    """Return the first moment of a span, inclusive; None where `days` count back from the newest candle."""
    if from_ is None and to is not None:
        return to - dt.timedelta(days=days) + dt.timedelta(microseconds=1)
    return from_


class HistoryQuery(TableQuery):
    """Candles of one coin, closed UTC days or hours only."""

    vs_currency: Currency = "usd"
    days: Annotated[
        int, Field(ge=1, le=10_000, description="Closed UTC days, newest last.", examples=[30]), PlainInteger
    ] = 30
    interval: Annotated[
        Literal["1d", "1h"], Field(description="Daily candles, or hourly ones where they are stored.")
    ] = "1d"
    from_: Annotated[
        Moment | None,
        Field(alias="from", description="First day or moment, inclusive; it replaces `days`."),
    ] = None
    to: Annotated[
        LastMoment | None,
        Field(description="Last day or moment, inclusive; without `from`, `days` count back from it."),
    ] = None
    as_of: Annotated[
        AsOfMoment | None,
        Field(
            description="Return what was known at this moment: days, hours and restatements that arrived "
            "later are left out. A day alone means the moment when its close was known, 00:35 UTC of the "
            "next day, as for forecasts; `known_at` of the reply states the moment."
        ),
    ] = None


class OhlcQuery(TableQuery):
    """Intraday to four-day candles of one coin."""

    vs_currency: Currency = "usd"
    days: Annotated[
        Literal["1", "7", "14", "30", "90", "180", "365"],
        Field(description="Span: 1, 7, 14, 30, 90, 180 or 365 days."),
    ] = "30"


class QualityQuery(RequestQuery):
    """Query of the known defects in a history: its currency."""

    vs_currency: Currency = "usd"
