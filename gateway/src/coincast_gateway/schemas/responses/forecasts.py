"""Responses about forecasts, models and their accuracy."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from coincast.training.v1 import training_pb2 as training_pb
from coincast_gateway.schemas.from_proto import response_model_for
from coincast_gateway.schemas.responses.common import ItemError, ResponseModel, Source


class Bounds(ResponseModel):
    """An interval of prices."""

    lower: float
    upper: float


class Volatility(ResponseModel):
    """Volatility from as_of to the point's day."""

    annualised_percent: float
    trailing_annualised_percent: float | None
    probability_of_increase: float | None


class Point(ResponseModel):
    """The distribution of one day's close."""

    date: str
    horizon_days: int = Field(description="0 for a horizon in hours.")
    horizon_hours: int | None = Field(None, description="The horizon in hours, if hours were requested.")
    closes_at: str | None = Field(None, description="The moment that is forecast, for a horizon in hours.")
    price: float = Field(description="The median of the price, in vs_currency.")
    intervals: dict[str, Bounds] = Field(
        description="By level in percent: 80 means that 80 % of outcomes should fall inside."
    )
    quantiles: dict[str, float] = Field(description="Quantiles of the price by probability.")
    probability_of_rise: float | None = Field(
        description="The probability that the close is above last_price."
    )
    volatility: Volatility | None


class HorizonRecord(ResponseModel):
    """Out-of-sample accuracy of a version at one horizon."""

    horizon_days: int
    forecasts: int
    mase: float | None
    mape_percent: float | None
    random_walk_mape_percent: float | None
    skill_percent: float | None
    crps_skill_percent: float | None
    coverage_80_percent: float | None
    coverage_95_percent: float | None
    horizon_hours: int = Field(0, description="Set for a horizon in hours; horizon_days is 0 then.")
    coverage_80_standard_error: float | None = Field(
        None, description="Standard error of coverage_80_percent in points, over periods without overlap."
    )
    independent_periods: int | None = Field(
        None, description="Periods of the horizon's length in the test days, without overlap."
    )
    random_walk_mase: float | None = None


class Record(ResponseModel):
    """Out-of-sample accuracy of the version, measured before it was served."""

    measured_at: str | None
    test_coins: list[str] = Field(description="The coins of the test.")
    test_from_date: str
    test_to_date: str
    horizons: list[HorizonRecord]


class Attribution(ResponseModel):
    """The contribution of one feature to a forecast."""

    feature: str
    value: float | None
    contribution: float
    output: str
    horizon_days: int


class Forecast(ResponseModel):
    """One coin's forecast."""

    id: str
    vs_currency: str
    as_of: str = Field(
        description="The start of the forecast: the close of the newest hour, or of the last whole day."
    )
    age_seconds: float = Field(
        description="Seconds from as_of to the sending of this reply, also where it comes from a cache."
    )
    last_price: float
    model: str = Field(description="The requested model; auto is resolved.")
    version: str
    served_by: str = Field(description="The model that made the forecast; last_price if no model could.")
    variant: str
    degraded: bool = Field(
        description="Whether another model than the requested one answered, or the data is stale or partial."
    )
    reason: str | None = Field(description="Why it is degraded; null if it is not.")
    source: Source
    stale: bool
    points: list[Point]
    record: Record | None
    attributions: list[Attribution]
    attributions_reason: str | None = Field(
        default=None, description="Why requested attributions are missing; null if they are not."
    )
    forecast_id: str
    reconstructed: bool = Field(
        False,
        description="Whether this forecast was not served at as_of, but made later from what was known then.",
    )
    hourly_version: str | None = Field(
        None,
        description="The hourly version that moved a forecast of days to the newest hour; otherwise null.",
    )
    as_of_reason: str | None = Field(
        None,
        description="Why a forecast of days starts from the last close and not from a later hour, or null.",
    )


class Forecasts(ResponseModel):
    """Forecasts, and the coins that have none."""

    forecasts: list[Forecast]
    errors: list[ItemError]


class Variant(ResponseModel):
    """A version that an alias other than production names."""

    alias: str
    version: str
    share: float


class Model(ResponseModel):
    """A model that can be requested."""

    name: str
    description: str
    ready: bool
    reason: str
    version: str
    created_at: str | None
    max_horizon_days: int = Field(description="The longest horizon in days; 0 if the model has none.")
    min_history_days: int
    trained_coins: list[str]
    record: Record | None
    variants: list[Variant]
    max_horizon_hours: int = Field(0, description="The longest horizon in hours; 0 if it has none.")


class Models(ResponseModel):
    """The models."""

    models: list[Model]


class Explanation(ResponseModel):
    """Explanation of one coin's forecast, with the forecast itself."""

    forecast: Forecast
    kind: Literal["shap"] = Field(description="Contributions are SHAP values, in the output's own unit.")


LoggedForecast = response_model_for(training_pb.LoggedForecast)


class ForecastLog(ResponseModel):
    """Forecasts as they were served, oldest first."""

    forecasts: list[LoggedForecast] = Field(description="One entry for each forecast and horizon.")  # type: ignore[valid-type]
    truncated: bool = Field(description="Whether the log has more entries than the limit.")
    errors: list[ItemError] = Field(description="Errors of malformed ids.")
