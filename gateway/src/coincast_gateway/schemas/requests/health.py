"""Query models of the health routes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from coincast_gateway.schemas.parameters import PlainInteger, RequestQuery

ComponentName = Annotated[
    Literal["gateway", "market-data", "forecast", "training", "redis"], Field(description="The component.")
]


class TrendsQuery(RequestQuery):
    """Query of the trends: their time span."""

    hours: Annotated[
        int, Field(ge=1, le=168, description="Hours back, up to a week.", examples=[24]), PlainInteger
    ] = 24
