"""Responses about joint scenarios, touch probabilities and portfolio risk."""

from __future__ import annotations

from pydantic import BaseModel, Field, create_model

from coincast.forecast.v1 import forecast_pb2 as pb
from coincast_gateway.schemas.from_proto import response_model_for
from coincast_gateway.schemas.responses.common import ItemError, ResponseModel

Errors = (list[ItemError], Field(description="Coins that are not included in any figure, and why."))
Basis = response_model_for(pb.ScenarioBasis)

Touch: type[BaseModel] = create_model(
    "Touch",
    __base__=response_model_for(pb.EstimateTouchResponse),
    __doc__="The probability that each coin touches each level, by day.",
    errors=Errors,
)
Portfolio: type[BaseModel] = create_model(
    "Portfolio",
    __base__=response_model_for(pb.AssessPortfolioResponse),
    __doc__="The loss distribution of holdings that stay constant over the horizon.",
    errors=Errors,
)


class CoinPaths(ResponseModel):
    """The paths of one coin; path n of each coin repeats the moves of the same past days."""

    id: str = Field(description="The coin.")
    last_price: float = Field(description="The price from which the paths start.")
    closes: list[list[float]] = Field(description="Close of each day, a list per path.")
    highs: list[list[float]] = Field(description="High of each day, a list per path.")
    lows: list[list[float]] = Field(description="Low of each day, a list per path.")


Scenarios: type[BaseModel] = create_model(
    "Scenarios",
    __base__=ResponseModel,
    __doc__="Joint price paths, distributed on each day as the forecasts.",
    basis=(
        Basis,
        Field(description="The model, the past days and the accuracy that the paths are based on."),
    ),
    days=(int, Field(description="Days of each path.")),
    dates=(list[str], Field(description="The day of each value.")),
    origin_dates=(
        list[str],
        Field(description="The past day whose moves, and those of the following days, each path repeats."),
    ),
    coins=(list[CoinPaths], Field(description="The coins.")),
    errors=Errors,
)
