"""Requests for exports."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from coincast_gateway.schemas.parameters import CoinIds, Currency, PlainInteger, RequestQuery
from coincast_gateway.schemas.requests.forecasts import LoggedForecastsQuery
from coincast_gateway.schemas.requests.market import AsOfMoment, LastMoment, Moment

ExportFormat = Annotated[
    Literal["parquet", "arrow", "csv"] | None,
    Field(description="The format of the file. It overrides the Accept header; without both it is Parquet."),
]


class HistoriesExportQuery(RequestQuery):
    """Candles of many coins, closed UTC days or hours only."""

    ids: Annotated[CoinIds, Field(examples=["bitcoin,ethereum"])]
    vs_currency: Currency = "usd"
    days: Annotated[
        int, Field(ge=1, le=10_000, description="Closed UTC days, newest last."), PlainInteger
    ] = 1825
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
        AsOfMoment | None, Field(description="Return what was known at this moment, as for one history.")
    ] = None
    format: ExportFormat = None


class LedgerExportQuery(LoggedForecastsQuery):
    """Forecasts as they were served."""

    format: ExportFormat = None
