"""What may be asked of forecasts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from coincast_gateway.schemas.fields import (
    CoinId,
    CoinIds,
    Currency,
    Levels,
    PlainInteger,
    Probabilities,
    RequestQuery,
)

ModelName = Literal["auto", "lightgbm", "lstm", "ml_ensemble", "technical"]
Days = Annotated[
    int,
    Field(ge=1, le=30, description="The longest horizon; every day up to it is answered.", examples=[7]),
    PlainInteger,
]
Hours = Annotated[
    int | None,
    Field(
        ge=1,
        le=48,
        description="The longest horizon in hours, in place of days. Every hour up to it is answered, "
        "from the newest closed hour.",
        examples=[24],
    ),
    PlainInteger,
]
MonitoredService = Annotated[
    ModelName, Field(description="Which model answers; auto takes the one with the best recent record.")
]


class ForecastsQuery(RequestQuery):
    """Forecasts of named coins."""

    ids: Annotated[CoinIds, Field(examples=["bitcoin,ethereum"])]
    days: Days = 7
    hours: Hours = None
    model: MonitoredService = "auto"
    vs_currency: Currency = "usd"
    levels: Annotated[Levels, Field(examples=["80,95"])] = (80.0, 95.0)
    quantiles: Annotated[Probabilities, Field(examples=["0.1,0.5,0.9"])] = ()


class ExplainQuery(RequestQuery):
    """What moved one coin's forecast."""

    id: CoinId
    days: Days = 7
    model: MonitoredService = "auto"
    vs_currency: Currency = "usd"
    features: Annotated[
        int, Field(ge=1, le=20, description="How many of the most telling features."), PlainInteger
    ] = 10
