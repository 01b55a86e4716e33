"""The gateway's replies, generated from its OpenAPI by `python deploy/client_schemas.py`."""

from __future__ import annotations

from datetime import date as date_aliased
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field

from coincast_client.base import Day, Reply


class Attribution(Reply):
    """The contribution of one feature to a forecast."""

    feature: str
    """
    The name of the feature.
    """
    value: float | None
    """
    The feature's value at as_of; null where it is missing.
    """
    contribution: float
    """
    The feature's share of the output, in the output's own unit.
    """
    output: str
    """
    What is explained: volatility or mean.
    """
    horizon_days: int
    """
    Days ahead; 0 for a horizon in hours.
    """


class Bounds(Reply):
    """An interval of prices."""

    lower: float
    """
    The lower bound, in vs_currency.
    """
    upper: float
    """
    The upper bound, in vs_currency.
    """


class Candle(Reply):
    """One closed UTC day."""

    date: date_aliased
    """
    The UTC day, YYYY-MM-DD.
    """
    open: float | None
    """
    The first price, in vs_currency; null where unknown.
    """
    high: float | None
    """
    The highest price, in vs_currency; null where unknown.
    """
    low: float | None
    """
    The lowest price, in vs_currency; null where unknown.
    """
    close: float
    """
    The last price, in vs_currency.
    """
    volume: float | None
    """
    Traded value, in vs_currency; null where unknown.
    """
    market_cap: float | None
    """
    Market value, in vs_currency; null where unknown.
    """


class Check(Reply):
    """One condition of readiness."""

    name: str
    """
    The name.
    """
    ready: bool
    """
    Whether it can be used now.
    """
    reason: str
    """
    Why, in a sentence; empty or null where there is nothing to explain.
    """


class Coin(Reply):
    """One coin of the catalogue."""

    id: str
    """
    The coin's CoinGecko id.
    """
    symbol: str
    """
    The coin's ticker symbol, in lower case.
    """
    name: str
    """
    The name.
    """


class CoinPaths(Reply):
    """The paths of one coin; path n of every coin begins on the same past day."""

    id: str
    """
    The coin.
    """
    last_price: float
    """
    The price from which the paths start.
    """
    closes: list[list[float]]
    """
    Close of each day, a list per path.
    """
    highs: list[list[float]]
    """
    High of each day, a list per path.
    """
    lows: list[list[float]]
    """
    Low of each day, a list per path.
    """


class Coins(Reply):
    """A page of the catalogue."""

    as_of: Annotated[AwareDatetime | None, Field(examples=["2026-11-21T00:00:00Z"])]
    """
    The moment that the data describes, RFC 3339, UTC.
    """
    age_seconds: Annotated[float, Field(ge=0.0)]
    """
    Seconds from as_of to the sending of this reply, also where it comes from a cache.
    """
    source: Literal["unspecified", "live", "fresh", "stale", "archive", "sandbox"]
    """
    Where the data comes from; `sandbox` is not market data.
    """
    stale: bool
    """
    Whether the data is older than its fresh window.
    """
    reason: str | None
    """
    Why it is stale or substituted; null where it is neither.
    """
    coins: list[Coin]
    """
    The coins.
    """
    total: int
    """
    Coins that match, over all pages.
    """
    next_page_token: str
    """
    Give it as page_token; empty at the end.
    """


class CommonProvenance(Reply):
    """As `Provenance` in the contract `coincast.common.v1`."""

    as_of: AwareDatetime | None
    """
    The moment that the data describes, RFC 3339, UTC.
    """
    age_seconds: float | None
    """
    Seconds from as_of to the sending of this reply, also where it comes from a cache.
    """
    source: Literal["unspecified", "live", "fresh", "stale", "archive", "sandbox"]
    """
    Where the data comes from; sandbox is not market data.
    """
    stale: bool
    """
    Whether the data is older than its fresh window.
    """
    reason: str
    """
    Why, in a sentence; empty or null where there is nothing to explain.
    """


class Component(Reply):
    """One component of the system."""

    name: Literal["gateway", "market-data", "forecast", "training", "redis"]
    """
    The name.
    """
    status: Literal["ok", "degraded", "down"]
    """
    The status.
    """
    sentence: str
    """
    What a person needs to know.
    """
    figures: dict[str, Any]
    """
    The figures behind it; empty where the part does not answer.
    """


class Detailed(Reply):
    """The whole picture."""

    status: Literal["ok", "degraded", "down"]
    """
    The status.
    """
    sentence: str
    """
    The state in a sentence.
    """
    checked_at: AwareDatetime
    """
    When the parts were checked, RFC 3339, UTC.
    """
    components: list[Component]
    """
    The parts, one entry each.
    """


class Explanation(Reply):
    """Explanation of one coin's forecast, with the forecast itself."""

    forecast: Forecast
    """
    The forecast.
    """
    kind: Literal["shap"]
    """
    Contributions are SHAP values, in the output's own unit.
    """


class Forecast(Reply):
    """One coin's forecast."""

    id: str
    """
    The coin's CoinGecko id.
    """
    vs_currency: str
    """
    The currency of all money figures.
    """
    as_of: AwareDatetime
    """
    What the forecast starts from: the close of the newest hour, or of the last whole day.
    """
    age_seconds: float
    """
    Seconds from as_of to the sending of this reply, also where it comes from a cache.
    """
    last_price: float
    """
    The close at as_of, in vs_currency.
    """
    model: str
    """
    The requested model; auto is resolved.
    """
    version: str
    """
    The version; empty where there is none.
    """
    served_by: str
    """
    Who answered; last_price where no model could.
    """
    variant: str
    """
    The alias that answered: production or challenger.
    """
    degraded: bool
    """
    Whether another model than the requested one answered, or the data is stale or partial.
    """
    reason: str | None
    """
    Why it is degraded; null where it is not.
    """
    source: Literal["unspecified", "live", "fresh", "stale", "archive", "sandbox"]
    """
    Where the data comes from; sandbox is not market data.
    """
    stale: bool
    """
    Whether the data is older than its fresh window.
    """
    points: list[Point]
    """
    One entry for each step, oldest or nearest first.
    """
    record: Record | None
    """
    What was measured out of sample before the version was served.
    """
    attributions: list[Attribution]
    """
    What moved the forecast, where it was requested.
    """
    attributions_reason: str | None = None
    """
    Why requested attributions are missing; null if they are not.
    """
    forecast_id: str
    """
    Identifies the forecast in the forecast log.
    """
    reconstructed: bool | None = False
    """
    Whether this was made afterwards from what was known at as_of, and was not served then.
    """
    hourly_version: str | None = None
    """
    The hourly version that moved a forecast of days to the newest hour; else null.
    """
    as_of_reason: str | None = None
    """
    Why a forecast of days starts from the last close and not from a later hour; else null.
    """


class ForecastChangeQuantile(Reply):
    """As `ChangeQuantile` in the contract `coincast.forecast.v1`."""

    probability: float | None
    """
    The probability of the quantile, 0 to 1.
    """
    change: float | None
    """
    The change in value, in vs_currency.
    """
    change_percent: float | None
    """
    The change in value, in percent of the gross value.
    """


class ForecastCoinTouch(Reply):
    """As `CoinTouch` in the contract `coincast.forecast.v1`."""

    id: str
    """
    The coin's CoinGecko id.
    """
    last_price: float | None
    """
    The close at as_of, in vs_currency.
    """
    levels: list[ForecastLevelTouch]
    """
    One entry for each level.
    """


class ForecastHorizonRecord(Reply):
    """As `HorizonRecord` in the contract `coincast.forecast.v1`."""

    horizon_days: int
    """
    Days ahead; 0 for a horizon in hours.
    """
    forecasts: int
    """
    Forecasts: each of them, or how many were compared.
    """
    mase: float | None
    """
    Absolute error over the coin's mean daily step before the test; null without random_walk_mase.
    """
    mape_percent: float | None
    """
    Mean absolute error relative to the price, in percent.
    """
    random_walk_mape_percent: float | None
    """
    The mape_percent of the last price on the same days.
    """
    skill_percent: float | None
    """
    How much smaller the mean absolute error is than that of the last price, in percent.
    """
    crps_skill_percent: float | None
    """
    How much smaller the CRPS is than a Gaussian random walk's, in percent.
    """
    coverage_80_percent: float | None
    """
    How often outcomes fell inside the 80 % interval, in percent.
    """
    coverage_95_percent: float | None
    """
    How often outcomes fell inside the 95 % interval, in percent.
    """
    horizon_hours: int
    """
    Hours ahead; 0 for a horizon in days.
    """
    coverage_80_standard_error: float | None
    """
    Standard error of coverage_80_percent in points.
    """
    independent_periods: int | None
    """
    Periods of the horizon's length in the test days, without overlap.
    """
    random_walk_mase: float | None
    """
    The mase of the last price on the same days: the scale of mase.
    """


class ForecastInterval(Reply):
    """As `Interval` in the contract `coincast.forecast.v1`."""

    level_percent: float | None
    """
    80 means that 80 % of outcomes should fall inside, or that 20 % of losses are larger.
    """
    lower: float | None
    """
    The lower bound, in vs_currency.
    """
    upper: float | None
    """
    The upper bound, in vs_currency.
    """


class ForecastLevelTouch(Reply):
    """As `LevelTouch` in the contract `coincast.forecast.v1`."""

    price: float | None
    """
    The price, in vs_currency.
    """
    percent: float | None
    """
    The level relative to the last price: -5 means 5 % below it.
    """
    days: list[ForecastTouchDay]
    """
    Days of history or days ahead; in a list, one entry for each day.
    """


class ForecastLiveRiskRecord(Reply):
    """As `LiveRiskRecord` in the contract `coincast.forecast.v1`."""

    kind: str
    """
    touch, close_beyond or exceedance.
    """
    horizon_days: int
    """
    Days ahead; 0 for a horizon in hours.
    """
    probability_from: float | None
    """
    The smallest stated probability, 0 to 1; null for exceedances.
    """
    probability_to: float | None
    """
    The largest stated probability, 0 to 1; null for exceedances.
    """
    level_percent: float | None
    """
    The level of value at risk; null for touches.
    """
    statements: int
    """
    How many statements were scored.
    """
    promised_percent: float | None
    """
    The share of the statements that was promised to come true, in percent.
    """
    observed_percent: float | None
    """
    The share of the statements that came true, in percent.
    """
    standard_error_percent: float | None
    """
    Standard error of observed_percent in points; null where it is unknown.
    """
    independent_periods: int
    """
    Periods of the horizon's length in the test days, without overlap.
    """
    brier: float | None
    """
    Mean squared distance of stated probability and outcome; null where not scored.
    """
    brier_skill_percent: float | None
    """
    How much smaller brier is than with the observed share stated, in percent.
    """
    loss_over_shortfall: float | None
    """
    Mean loss beyond the value at risk over the expected shortfall; null where none.
    """
    from_date: Day
    """
    The first day on which the statements were made.
    """
    to_date: Day
    """
    The last day on which the statements were made.
    """
    served_by: str
    """
    The model that answered; empty where all are counted together.
    """


class ForecastLog(Reply):
    """Forecasts as they were served, oldest first."""

    forecasts: list[TrainingLoggedForecast]
    """
    One entry for each forecast and horizon.
    """
    truncated: bool
    """
    Whether there are more than the limit.
    """
    errors: list[ItemError]
    """
    Ids that no coin can have.
    """


class ForecastPricedHolding(Reply):
    """As `PricedHolding` in the contract `coincast.forecast.v1`."""

    id: str
    """
    The coin's CoinGecko id.
    """
    amount: float | None
    """
    Coins held; negative for a short position.
    """
    price: float | None
    """
    The price, in vs_currency.
    """
    value: float | None
    """
    The value of the holding, in vs_currency; negative for a short position.
    """
    price_as_of: str | None
    """
    The moment of the price, RFC 3339, UTC.
    """


class ForecastQuantile(Reply):
    """As `Quantile` in the contract `coincast.forecast.v1`."""

    probability: float | None
    """
    The probability of the quantile, 0 to 1.
    """
    price: float | None
    """
    The price, in vs_currency.
    """


class ForecastRecord(Reply):
    """As `Record` in the contract `coincast.forecast.v1`."""

    measured_at: AwareDatetime | None
    """
    When the record was measured, RFC 3339, UTC.
    """
    test_coins: list[str]
    """
    The coins of the test.
    """
    test_from_date: Day
    """
    The first day of the test.
    """
    test_to_date: Day
    """
    The last day of the test.
    """
    horizons: list[ForecastHorizonRecord]
    """
    The record of each horizon.
    """


class ForecastRiskComponent(Reply):
    """As `RiskComponent` in the contract `coincast.forecast.v1`."""

    id: str
    """
    The coin's CoinGecko id.
    """
    expected_shortfall: float | None
    """
    The mean loss in the tail beyond the level, in vs_currency.
    """
    share_percent: float | None
    """
    The coin's share of the portfolio's figure, in percent.
    """


class ForecastRiskLevel(Reply):
    """As `RiskLevel` in the contract `coincast.forecast.v1`."""

    level_percent: float | None
    """
    80 means that 80 % of outcomes should fall inside, or that 20 % of losses are larger.
    """
    value_at_risk: float | None
    """
    The loss that is exceeded with the level's remaining probability; null where refused.
    """
    expected_shortfall: float | None
    """
    The mean loss in the tail beyond the level, in vs_currency.
    """
    components: list[ForecastRiskComponent]
    """
    The parts, one entry each.
    """
    refused: str
    """
    Why the level cannot be stated, and what can be; empty where it can.
    """
    tail_scenarios: int
    """
    Scenarios in the tail.
    """
    tail_episodes: int
    """
    Separate episodes among the scenarios of the tail.
    """
    indicative: bool
    """
    Whether the tail holds too few scenarios for more than an indication.
    """
    relative_error_percent: float | None
    """
    The standard error of the figure relative to it, in percent.
    """


class ForecastScenarioBasis(Reply):
    """As `ScenarioBasis` in the contract `coincast.forecast.v1`."""

    model: str
    """
    The name of the model.
    """
    version: str
    """
    The version; empty where there is none.
    """
    served_by: str
    """
    What answered: a model, or last_price where no model could.
    """
    degraded: bool
    """
    Whether another model or version than requested answered, or the data was stale.
    """
    reason: str
    """
    Why, in a sentence; empty or null where there is nothing to explain.
    """
    as_of: AwareDatetime | None
    """
    The close from which the scenarios start, RFC 3339, UTC.
    """
    provenance: CommonProvenance | None
    """
    Where the history comes from.
    """
    scenarios: int
    """
    How many past days the scenarios are taken from.
    """
    first_origin_date: Day
    """
    The first past day from which a scenario takes its moves.
    """
    last_origin_date: Day
    """
    The last past day from which a scenario takes its moves.
    """
    borrowed_ids: list[str]
    """
    Coins with too few days of their own, which borrow the moves of other coins.
    """
    record_sentence: str
    """
    How such answers did, in a sentence; empty where nothing was measured.
    """
    live_records: list[ForecastLiveRiskRecord]
    """
    How answers of this kind did since they were served; empty where none has been scored.
    """
    live_sentence: str
    """
    The same in a sentence; empty where the answer states no chance.
    """
    recorded: bool
    """
    Whether the answer is in the log and will be scored when its days are over.
    """


class ForecastTouchDay(Reply):
    """As `TouchDay` in the contract `coincast.forecast.v1`."""

    date: date_aliased
    """
    The UTC day, YYYY-MM-DD.
    """
    horizon_days: int
    """
    Days ahead; 0 for a horizon in hours.
    """
    touch_probability: float | None
    """
    The chance that the price touches the level by this day's close, 0 to 1.
    """
    close_beyond_probability: float | None
    """
    The chance that this day's close lies beyond the level, 0 to 1.
    """


class ForecastWorstScenario(Reply):
    """As `WorstScenario` in the contract `coincast.forecast.v1`."""

    origin_date: date_aliased
    """
    The past day on which the scenario begins.
    """
    change: float | None
    """
    The change in value, in vs_currency.
    """
    change_percent: float | None
    """
    The change in value, in percent of the gross value.
    """


class Forecasts(Reply):
    """Forecasts, and the coins that have none."""

    forecasts: list[Forecast]
    """
    Forecasts: each of them, or how many were compared.
    """
    errors: list[ItemError]
    """
    Items that could not be served, and why.
    """


class Gap(Reply):
    """A span without samples."""

    from_: Annotated[str, Field(alias="from")]
    """
    Start of the first step without a sample.
    """
    to: str
    """
    End of the last step without a sample.
    """


class History(Reply):
    """Candles, oldest first."""

    as_of: Annotated[AwareDatetime | None, Field(examples=["2026-11-21T00:00:00Z"])]
    """
    The moment that the data describes, RFC 3339, UTC.
    """
    age_seconds: Annotated[float, Field(ge=0.0)]
    """
    Seconds from as_of to the sending of this reply, also where it comes from a cache.
    """
    source: Literal["unspecified", "live", "fresh", "stale", "archive", "sandbox"]
    """
    Where the data comes from; `sandbox` is not market data.
    """
    stale: bool
    """
    Whether the data is older than its fresh window.
    """
    reason: str | None
    """
    Why it is stale or substituted; null where it is neither.
    """
    id: str
    """
    The coin.
    """
    vs_currency: str
    """
    The currency of all prices.
    """
    interval: Literal["1d", "1h"]
    """
    The length of a candle.
    """
    candles: list[Candle] | list[HourlyCandle]
    """
    Closed days or hours, oldest first.
    """
    truncated: bool
    """
    Whether fewer days were available than requested.
    """
    truncated_reason: str | None
    """
    Why it is truncated; null where it is not.
    """
    missing_dates: list[date_aliased]
    """
    Days inside the span that no source has, at most 100.
    """
    completeness: Literal["unspecified", "whole", "cut_by_plan", "partial"]
    """
    Whether this is all that the source has, cut by the plan's reach, or partial for now.
    """
    partial_reason: str | None
    """
    Why it is partial for now; null where it is not.
    """
    retry_after_seconds: float | None
    """
    When asking again may give more; null otherwise.
    """
    quality_notes: list[str]
    """
    Notes on the quality of these candles: restated or quarantined days.
    """
    in_doubt: bool
    """
    Whether the newest candles wait for confirmation.
    """
    known_at: AwareDatetime | None = None
    """
    The moment of `as_of`, where the request had one.
    """


class HorizonRecord(Reply):
    """Out-of-sample accuracy of a version at one horizon."""

    horizon_days: int
    """
    Days ahead; 0 for a horizon in hours.
    """
    forecasts: int
    """
    Forecasts: each of them, or how many were compared.
    """
    mase: float | None
    """
    Absolute error over the coin's mean daily step before the test; null without random_walk_mase.
    """
    mape_percent: float | None
    """
    Mean absolute error relative to the price, in percent.
    """
    random_walk_mape_percent: float | None
    """
    The mape_percent of the last price on the same days.
    """
    skill_percent: float | None
    """
    How much smaller the mean absolute error is than that of the last price, in percent.
    """
    crps_skill_percent: float | None
    """
    How much smaller the CRPS is than a Gaussian random walk's, in percent.
    """
    coverage_80_percent: float | None
    """
    How often outcomes fell inside the 80 % interval, in percent.
    """
    coverage_95_percent: float | None
    """
    How often outcomes fell inside the 95 % interval, in percent.
    """
    horizon_hours: int | None = 0
    """
    Set for a horizon in hours; horizon_days is 0 then.
    """
    coverage_80_standard_error: float | None = None
    """
    Standard error of coverage_80_percent in points, over periods without overlap.
    """
    independent_periods: int | None = None
    """
    Periods of the horizon's length in the test days, without overlap.
    """
    random_walk_mase: float | None = None
    """
    The mase of the last price on the same days: the scale of mase.
    """


class HourlyCandle(Reply):
    """One closed hour."""

    time: AwareDatetime
    """
    The start of the hour, RFC 3339, UTC.
    """
    open: float | None
    """
    The first price, in vs_currency; null where unknown.
    """
    high: float | None
    """
    The highest price, in vs_currency; null where unknown.
    """
    low: float | None
    """
    The lowest price, in vs_currency; null where unknown.
    """
    close: float
    """
    The last price, in vs_currency.
    """
    volume: float | None
    """
    Traded value over the hour, in vs_currency.
    """


class ItemError(Reply):
    """One item of a list that could not be served; the others are."""

    id: str
    """
    The item as requested.
    """
    kind: Literal[
        "unspecified",
        "invalid_input",
        "not_found",
        "not_ready",
        "exhausted",
        "unavailable",
        "timeout",
        "conflict",
        "internal",
    ]
    """
    The kind of error.
    """
    message: str
    """
    What is wrong, and how to fix it.
    """
    field: str | None
    """
    The field at fault; null where there is none.
    """
    suggestions: list[str]
    """
    Nearest known ids, best first.
    """
    retry_after_seconds: float | None
    """
    When a retry may help; null where it does not.
    """


class KeyUsage(Reply):
    """Usage of one key."""

    name: str
    """
    The name of the key.
    """
    month_calls: int
    """
    Calls in this calendar month (UTC).
    """
    month_limit: int | None
    """
    The limit of a month; null where there is none.
    """
    days: list[UsageDay]
    """
    Days with calls, newest first.
    """


class Live(Reply):
    """The process answers."""

    status: Literal["alive"]
    """
    The status.
    """
    version: str
    """
    The version of the gateway.
    """
    upstream: str | None = None
    """
    Why CoinGecko cannot be had, as last known, with the remedy; null where it can.
    """


class Market(Reply):
    """One coin of the list."""

    as_of: Annotated[AwareDatetime | None, Field(examples=["2026-11-21T00:00:00Z"])]
    """
    The moment that the data describes, RFC 3339, UTC.
    """
    age_seconds: Annotated[float, Field(ge=0.0)]
    """
    Seconds from as_of to the sending of this reply, also where it comes from a cache.
    """
    source: Literal["unspecified", "live", "fresh", "stale", "archive", "sandbox"]
    """
    Where the data comes from; `sandbox` is not market data.
    """
    stale: bool
    """
    Whether the data is older than its fresh window.
    """
    reason: str | None
    """
    Why it is stale or substituted; null where it is neither.
    """
    id: str
    """
    The coin's CoinGecko id.
    """
    symbol: str
    """
    The coin's ticker symbol, in lower case.
    """
    name: str
    """
    The name.
    """
    vs_currency: str
    """
    The currency of all money figures.
    """
    price: float | None
    """
    The price, in vs_currency.
    """
    market_cap: float | None
    """
    Market value, in vs_currency; null where unknown.
    """
    market_cap_rank: int | None
    """
    The rank by market value, from 1; null where there is none.
    """
    volume_24h: float | None
    """
    Traded value of the last 24 hours, in vs_currency; null where unknown.
    """
    high_24h: float | None
    """
    The highest price of the last 24 hours, in vs_currency.
    """
    low_24h: float | None
    """
    The lowest price of the last 24 hours, in vs_currency.
    """
    change_24h_percent: float | None
    """
    Change over 24 hours in percent: 1.5 means +1.5 %.
    """
    circulating_supply_coins: float | None
    """
    Coins in circulation; null where unknown.
    """
    total_supply_coins: float | None
    """
    Coins that exist; null where unknown.
    """
    max_supply_coins: float | None
    """
    The most coins that can ever exist; null where there is no such limit.
    """
    all_time_high: float | None
    """
    The highest price ever, in vs_currency.
    """
    last_updated_at: AwareDatetime | None
    """
    When CoinGecko last saw a trade, RFC 3339, UTC.
    """


class Markets(Reply):
    """A page of coins."""

    markets: list[Market]
    """
    The coins, largest market value first.
    """
    errors: list[ItemError]
    """
    Items that could not be served, and why.
    """


class Model(Reply):
    """A model that can be requested."""

    name: str
    """
    The name.
    """
    description: str
    """
    What the model does, in a sentence.
    """
    ready: bool
    """
    Whether it can be used now.
    """
    reason: str
    """
    Why, in a sentence; empty or null where there is nothing to explain.
    """
    version: str
    """
    The version; empty where there is none.
    """
    created_at: AwareDatetime | None
    """
    When the version was trained, RFC 3339, UTC; null where there is none.
    """
    max_horizon_days: int
    """
    The longest horizon in days; 0 where the model has none.
    """
    min_history_days: int
    """
    The days of history that the model needs of a coin.
    """
    trained_coins: list[str]
    """
    The coins that the version was trained on.
    """
    record: Record | None
    """
    What was measured out of sample before the version was served.
    """
    variants: list[Variant]
    """
    Versions beside production that take traffic or shadow it.
    """
    max_horizon_hours: int | None = 0
    """
    The longest horizon in hours; 0 where it has none.
    """


class Models(Reply):
    """The models."""

    models: list[Model]
    """
    The models.
    """


class Ohlc(Reply):
    """Candles of one coin."""

    as_of: Annotated[AwareDatetime | None, Field(examples=["2026-11-21T00:00:00Z"])]
    """
    The moment that the data describes, RFC 3339, UTC.
    """
    age_seconds: Annotated[float, Field(ge=0.0)]
    """
    Seconds from as_of to the sending of this reply, also where it comes from a cache.
    """
    source: Literal["unspecified", "live", "fresh", "stale", "archive", "sandbox"]
    """
    Where the data comes from; `sandbox` is not market data.
    """
    stale: bool
    """
    Whether the data is older than its fresh window.
    """
    reason: str | None
    """
    Why it is stale or substituted; null where it is neither.
    """
    id: str
    """
    The coin's CoinGecko id.
    """
    vs_currency: str
    """
    The currency of all money figures.
    """
    candles: list[OhlcCandle]
    """
    The candles, oldest first.
    """


class OhlcCandle(Reply):
    """One candle."""

    closed_at: AwareDatetime
    """
    When the candle closed, RFC 3339, UTC.
    """
    open: float
    """
    The first price, in vs_currency; null where unknown.
    """
    high: float
    """
    The highest price, in vs_currency; null where unknown.
    """
    low: float
    """
    The lowest price, in vs_currency; null where unknown.
    """
    close: float
    """
    The last price, in vs_currency.
    """


class Point(Reply):
    """The distribution of one day's close."""

    date: date_aliased
    """
    The UTC day, YYYY-MM-DD.
    """
    horizon_days: int
    """
    0 for a horizon in hours.
    """
    horizon_hours: int | None = None
    """
    The horizon in hours, if hours were requested.
    """
    closes_at: AwareDatetime | None = None
    """
    The moment that is forecast, for a horizon in hours.
    """
    price: float
    """
    The median.
    """
    intervals: dict[str, Bounds]
    """
    By level in percent: 80 means that 80 % of outcomes should fall inside.
    """
    quantiles: dict[str, float]
    """
    By probability.
    """
    probability_of_rise: float | None
    """
    The chance that the close is above last_price.
    """
    volatility: Volatility | None
    """
    The forecast of volatility; null where there is none.
    """


class Portfolio(Reply):
    """The loss distribution of holdings that do not change."""

    basis: ForecastScenarioBasis | None
    """
    Where the scenarios come from.
    """
    errors: list[ItemError]
    """
    Coins that are part of no figure, and why.
    """
    vs_currency: str
    """
    The currency of all money figures.
    """
    days: int
    """
    Days ahead.
    """
    value: float | None
    """
    The value of the holdings, long minus short, in vs_currency.
    """
    gross_value: float | None
    """
    The sum of the holdings' absolute values, in vs_currency.
    """
    change_quantiles: list[ForecastChangeQuantile]
    """
    Quantiles of the change in value.
    """
    levels: list[ForecastRiskLevel]
    """
    One entry for each level.
    """
    diversification_percent: float | None
    """
    How far the expected shortfall lies below the sum of the coins' own.
    """
    worst: list[ForecastWorstScenario]
    """
    The worst scenarios, worst first.
    """
    holdings: list[ForecastPricedHolding]
    """
    The holdings that are part of the figures, with their prices.
    """


class Price(Reply):
    """One coin in one currency."""

    as_of: Annotated[AwareDatetime | None, Field(examples=["2026-11-21T00:00:00Z"])]
    """
    The moment that the data describes, RFC 3339, UTC.
    """
    age_seconds: Annotated[float, Field(ge=0.0)]
    """
    Seconds from as_of to the sending of this reply, also where it comes from a cache.
    """
    source: Literal["unspecified", "live", "fresh", "stale", "archive", "sandbox"]
    """
    Where the data comes from; `sandbox` is not market data.
    """
    stale: bool
    """
    Whether the data is older than its fresh window.
    """
    reason: str | None
    """
    Why it is stale or substituted; null where it is neither.
    """
    id: str
    """
    The coin's CoinGecko id.
    """
    vs_currency: str
    """
    The currency of all money figures.
    """
    price: float
    """
    The price, in vs_currency.
    """
    market_cap: float | None
    """
    Market value, in vs_currency; null where unknown.
    """
    volume_24h: float | None
    """
    Traded value of the last 24 hours, in vs_currency; null where unknown.
    """
    change_24h_percent: float | None
    """
    1.5 means +1.5 %.
    """
    last_updated_at: AwareDatetime | None
    """
    When CoinGecko last saw a trade, RFC 3339, UTC.
    """


class Prices(Reply):
    """Spot prices."""

    prices: list[Price]
    """
    The prices.
    """
    errors: list[ItemError]
    """
    Items that could not be served, and why.
    """


class ProblemDocument(Reply):
    """An error, RFC 9457."""

    type: str
    """
    Stable name of the kind of problem; the page under this path explains it.
    """
    title: str
    """
    The kind of problem in a few words.
    """
    status: int
    """
    The HTTP status.
    """
    detail: str
    """
    What is wrong, and how to fix it.
    """
    instance: str
    """
    The requested path.
    """
    request_id: str
    """
    Identifies this request in the logs.
    """
    field: str | None = None
    """
    The parameter at fault.
    """
    allowed: str | None = None
    """
    What may be given instead.
    """
    suggestions: list[str] | None = None
    """
    Nearest known names, best first.
    """
    retry_after_seconds: int | None = None
    """
    As Retry-After.
    """
    errors: list[dict[str, Any]] | None = None
    """
    Everything that is wrong, one entry each.
    """


class Quality(Reply):
    """Known defects in the history of one coin."""

    id: str
    """
    The coin.
    """
    vs_currency: str
    """
    The currency of the history.
    """
    missing_days: int
    """
    Days inside the history that no source has.
    """
    duplicate_points: int
    """
    Points that came more than once.
    """
    quarantined_points: int
    """
    Points that were quarantined as implausible.
    """
    last_good_date: date_aliased | None
    """
    The newest day that is in order; null where unknown.
    """
    notes: list[str]
    """
    What was found, in plain sentences, newest first.
    """


class Ready(Reply):
    """Readiness: everything that a forecast needs is available."""

    status: Literal["ready"]
    """
    The status.
    """
    checks: list[Check]
    """
    What must hold, one entry each.
    """


class Record(Reply):
    """Evaluation of the version before it was served."""

    measured_at: AwareDatetime | None
    """
    When the record was measured, RFC 3339, UTC.
    """
    test_coins: list[str]
    """
    The coins of the test.
    """
    test_from_date: Day
    """
    The first day of the test.
    """
    test_to_date: Day
    """
    The last day of the test.
    """
    horizons: list[HorizonRecord]
    """
    The record of each horizon.
    """


class Sample(Reply):
    """Means over one span of time, and the worst value where the extreme matters.

    With several workers the gateway's own figures are those of the worker that wrote last.
    """

    at: AwareDatetime
    """
    The last reading, RFC 3339, UTC.
    """
    samples: int
    """
    Readings in this span.
    """
    requests_per_second: float | None
    """
    Requests a second.
    """
    server_error_share: float | None
    """
    The share of requests that ended with a server error, 0 to 1.
    """
    hot_hit_rate: float | None
    """
    The share of requests that the response cache answered, 0 to 1.
    """
    cpu_percent: float | None
    """
    The gateway's share of one core, in percent.
    """
    memory_mb: float | None
    """
    Resident memory of the gateway, in MB.
    """
    p50_ms: float | None
    """
    Half of the requests took no longer, in milliseconds.
    """
    p95_ms: float | None
    """
    95 % of the requests took no longer, in milliseconds.
    """
    p99_ms: float | None
    """
    99 % of the requests took no longer, in milliseconds.
    """
    statuses: dict[str, Literal["ok", "degraded", "down"]]
    """
    The worst status of each part within the span.
    """


class Scenarios(Reply):
    """Joint price paths whose distributions are the forecasts."""

    basis: ForecastScenarioBasis
    """
    Where the scenarios come from.
    """
    days: int
    """
    Days of each path.
    """
    dates: list[date_aliased]
    """
    The day of each value.
    """
    origin_dates: list[date_aliased]
    """
    The past day from which each path takes its moves.
    """
    coins: list[CoinPaths]
    """
    The coins.
    """
    errors: list[ItemError]
    """
    Coins that are part of no figure, and why.
    """


class Touch(Reply):
    """The chance that each coin touches each level, by day."""

    basis: ForecastScenarioBasis | None
    """
    Where the scenarios come from.
    """
    errors: list[ItemError]
    """
    Coins that are part of no figure, and why.
    """
    coins: list[ForecastCoinTouch]
    """
    The coins.
    """


class TrainingAliasTable(Reply):
    """As `AliasTable` in the contract `coincast.training.v1`."""

    model: str
    """
    The name of the model.
    """
    revision: int
    """
    The revision of the alias table; each change raises it by 1.
    """
    production_version: str
    """
    The version that the alias production names; empty where there is none.
    """
    challenger_version: str
    """
    The version that the alias challenger names; empty where there is none.
    """
    challenger_share: float | None
    """
    The share of traffic that the challenger answers, 0 to 1.
    """
    shadow_version: str
    """
    The version that the alias shadow names; empty where there is none.
    """


class TrainingAuditEntry(Reply):
    """As `AuditEntry` in the contract `coincast.training.v1`."""

    at: AwareDatetime | None
    """
    When it was done, RFC 3339, UTC.
    """
    requested_by: str
    """
    Who requested it: the name of the API key, cli, schedule or drift.
    """
    model: str
    """
    The name of the model.
    """
    action: str
    """
    What was done: promote, rollback, retire or clean.
    """
    alias: str
    """
    The name that points to a version: production, challenger or shadow.
    """
    from_version: str
    """
    The version before, or the one whose lineage is retrained; may be empty.
    """
    to_version: str
    """
    The version after the change; empty where there is none.
    """
    reason: str
    """
    Why, in a sentence; empty or null where there is nothing to explain.
    """
    revision: int
    """
    The revision of the alias table; each change raises it by 1.
    """
    forced: bool
    """
    Whether the promotion gate was overruled.
    """


class TrainingCancelJobResponse(Reply):
    """As `CancelJobResponse` in the contract `coincast.training.v1`."""

    job: TrainingJob | None
    """
    The job.
    """


class TrainingCleanVersionsResponse(Reply):
    """As `CleanVersionsResponse` in the contract `coincast.training.v1`."""

    removed: list[str]
    """
    The versions that were removed, oldest first.
    """
    table: TrainingAliasTable | None
    """
    The aliases after the change.
    """


class TrainingCompareVersionsResponse(Reply):
    """As `CompareVersionsResponse` in the contract `coincast.training.v1`."""

    a: TrainingModelVersion | None
    """
    The first version.
    """
    b: TrainingModelVersion | None
    """
    The second version.
    """
    tests: list[TrainingPairedTest]
    """
    Comparisons of two versions on the same forecasts.
    """
    verdict: str
    """
    The outcome in a sentence.
    """


class TrainingEvaluatedRecord(Reply):
    """As `EvaluatedRecord` in the contract `coincast.training.v1`."""

    model: str
    """
    The name of the model.
    """
    version: str
    """
    The version; empty where there is none.
    """
    record: ForecastRecord | None
    """
    What was measured out of sample before the version was served.
    """


class TrainingGetAccuracyResponse(Reply):
    """As `GetAccuracyResponse` in the contract `coincast.training.v1`."""

    live: list[TrainingLiveRecord]
    """
    The record of forecasts that were served, once their day had come.
    """
    evaluated: list[TrainingEvaluatedRecord]
    """
    The evaluation's record of the production versions.
    """
    tests: list[TrainingVariantTest]
    """
    Comparisons of two versions on the same forecasts.
    """
    ledger: TrainingLedgerStatus | None
    """
    The state of the forecast log.
    """
    by_origin_hour: list[TrainingLiveRecord]
    """
    The same record by the hour of the day that the forecasts start from.
    """
    risk: list[ForecastLiveRiskRecord]
    """
    How served risk answers came true, by kind, horizon and stated chance or level; empty for a single coin.
    """


class TrainingGetJobLogsResponse(Reply):
    """As `GetJobLogsResponse` in the contract `coincast.training.v1`."""

    lines: list[str]
    """
    Lines of the log, oldest first.
    """


class TrainingGetJobResponse(Reply):
    """As `GetJobResponse` in the contract `coincast.training.v1`."""

    job: TrainingJob | None
    """
    The job.
    """


class TrainingJob(Reply):
    """As `Job` in the contract `coincast.training.v1`."""

    job_id: str
    """
    Identifies the job.
    """
    spec: TrainingTrainingSpec | None
    """
    What the job trains.
    """
    state: Literal["unspecified", "queued", "running", "succeeded", "failed", "cancelled", "interrupted"]
    """
    The state of the job.
    """
    progress: float | None
    """
    How much is done, 0 to 1.
    """
    stage: str
    """
    What the job does now, in a few words.
    """
    submitted_at: AwareDatetime | None
    """
    When the job was submitted, RFC 3339, UTC.
    """
    started_at: AwareDatetime | None
    """
    When the job was started, RFC 3339, UTC; null while it waits.
    """
    finished_at: AwareDatetime | None
    """
    When the job ended, RFC 3339, UTC; null while it has not.
    """
    remaining_seconds: float | None
    """
    The estimated time left, in seconds.
    """
    version: str
    """
    The version; empty where there is none.
    """
    error: str
    """
    Why it failed, in a sentence; empty where it did not.
    """
    requested_by: str
    """
    Who requested it: the name of the API key, cli, schedule or drift.
    """
    promotion: str
    """
    Whether production was moved, and why or why not.
    """
    attempt: int
    """
    How many restarts of the worker the job has outlived.
    """


class TrainingLedgerStatus(Reply):
    """As `LedgerStatus` in the contract `coincast.training.v1`."""

    stored_forecasts: int
    """
    Logged forecasts on disk.
    """
    scored_forecasts: int
    """
    Logged forecasts whose outcome is known.
    """
    lag_entries: int
    """
    Entries that wait to be written to disk.
    """
    lag_seconds: float | None
    """
    Age of the oldest entry that waits, in seconds.
    """
    open_risk_statements: int
    """
    Served risk answers that wait for the close of their days.
    """
    scored_risk_chances: int
    """
    Chances of served risk answers whose outcome is known.
    """
    risk_lag_entries: int
    """
    Served risk answers that wait to be written to disk.
    """
    risk_lag_seconds: float | None
    """
    Age of the oldest served risk answer that waits, in seconds.
    """


class TrainingListAuditResponse(Reply):
    """As `ListAuditResponse` in the contract `coincast.training.v1`."""

    entries: list[TrainingAuditEntry]
    """
    The entries, newest first.
    """


class TrainingListJobsResponse(Reply):
    """As `ListJobsResponse` in the contract `coincast.training.v1`."""

    jobs: list[TrainingJob]
    """
    The jobs, newest first.
    """


class TrainingListVersionsResponse(Reply):
    """As `ListVersionsResponse` in the contract `coincast.training.v1`."""

    versions: list[TrainingModelVersion]
    """
    The versions, newest first.
    """
    tables: list[TrainingAliasTable]
    """
    The aliases of each model.
    """


class TrainingLiveRecord(Reply):
    """As `LiveRecord` in the contract `coincast.training.v1`."""

    model: str
    """
    The name of the model.
    """
    version: str
    """
    The version; empty where there is none.
    """
    id: str
    """
    The coin's CoinGecko id.
    """
    variant: str
    """
    The alias that answered: production or challenger.
    """
    horizon: ForecastHorizonRecord | None
    """
    The record of one horizon.
    """
    origin_hour: int | None
    """
    The UTC hour of the day, 0 to 23, that the forecasts start from; null for all hours.
    """


class TrainingLoggedForecast(Reply):
    """As `LoggedForecast` in the contract `coincast.training.v1`."""

    forecast_id: str
    """
    Identifies the forecast in the forecast log.
    """
    id: str
    """
    The coin's CoinGecko id.
    """
    vs_currency: str
    """
    The currency of all money figures.
    """
    model: str
    """
    The name of the model.
    """
    version: str
    """
    The version; empty where there is none.
    """
    variant: str
    """
    The alias that answered: production or challenger.
    """
    as_of: AwareDatetime | None
    """
    The close that the forecast starts from, RFC 3339, UTC.
    """
    served_at: AwareDatetime | None
    """
    When the forecast was served, RFC 3339, UTC.
    """
    horizon_days: int
    """
    Days ahead; 0 for a horizon in hours.
    """
    horizon_hours: int
    """
    Hours ahead; 0 for a horizon in days.
    """
    closes_at: AwareDatetime | None
    """
    The moment whose price is forecast, RFC 3339, UTC.
    """
    last_price: float | None
    """
    The close at as_of, in vs_currency.
    """
    median: float | None
    """
    The median of the forecast price, in vs_currency.
    """
    intervals: list[ForecastInterval]
    """
    Intervals of the price, by level.
    """
    quantiles: list[ForecastQuantile]
    """
    Quantiles of the price, by probability.
    """
    outcome: float | None
    """
    The price that came, in vs_currency; null while it is unknown.
    """
    crps: float | None
    """
    Continuous ranked probability score of the log return; null while the outcome is unknown.
    """
    degraded: bool | None
    """
    Whether another model or version than requested answered, or the data was stale.
    """
    served_by: str
    """
    What answered: a model, or last_price where no model could.
    """


class TrainingModelVersion(Reply):
    """As `ModelVersion` in the contract `coincast.training.v1`."""

    model: str
    """
    The name of the model.
    """
    version: str
    """
    The version; empty where there is none.
    """
    created_at: AwareDatetime | None
    """
    When the version was trained, RFC 3339, UTC; null where there is none.
    """
    aliases: list[str]
    """
    The aliases that name the version; more than one is possible.
    """
    retired: bool
    """
    Whether the version is out of use.
    """
    signed: bool
    """
    Whether the artifact carries a valid signature.
    """
    coins: list[str]
    """
    The coins.
    """
    data_from_date: Day
    """
    The first day of the training data.
    """
    data_to_date: Day
    """
    The last day of the training data.
    """
    data_hash: str
    """
    The digest of the training data.
    """
    code_version: str
    """
    The digest of the code that trained the version.
    """
    parent_version: str
    """
    The version whose lineage was retrained; empty where there is none.
    """
    record: ForecastRecord | None
    """
    What was measured out of sample before the version was served.
    """
    size_bytes: int
    """
    The size of the artifact on disk, in bytes.
    """


class TrainingPairedTest(Reply):
    """As `PairedTest` in the contract `coincast.training.v1`."""

    horizon_days: int
    """
    Days ahead; 0 for a horizon in hours.
    """
    loss: str
    """
    What is compared: crps or absolute_error.
    """
    forecasts: int
    """
    Forecasts: each of them, or how many were compared.
    """
    mean_loss_a: float | None
    """
    The mean loss of the first version.
    """
    mean_loss_b: float | None
    """
    The mean loss of the second version.
    """
    statistic: float | None
    """
    The test statistic; positive where the second version is better.
    """
    p_value: float | None
    """
    The probability of so large a difference where both versions are equally good.
    """
    horizon_hours: int
    """
    Hours ahead; 0 for a horizon in days.
    """


class TrainingPromoteVersionResponse(Reply):
    """As `PromoteVersionResponse` in the contract `coincast.training.v1`."""

    table: TrainingAliasTable | None
    """
    The aliases after the change.
    """
    verdict: str
    """
    The outcome in a sentence.
    """


class TrainingRetireVersionResponse(Reply):
    """As `RetireVersionResponse` in the contract `coincast.training.v1`."""

    version: TrainingModelVersion | None
    """
    The version; empty where there is none.
    """


class TrainingRollbackModelResponse(Reply):
    """As `RollbackModelResponse` in the contract `coincast.training.v1`."""

    table: TrainingAliasTable | None
    """
    The aliases after the change.
    """


class TrainingSubmitJobResponse(Reply):
    """As `SubmitJobResponse` in the contract `coincast.training.v1`."""

    job: TrainingJob | None
    """
    The job.
    """


class TrainingTrainingSpec(Reply):
    """As `TrainingSpec` in the contract `coincast.training.v1`."""

    model: str
    """
    The name of the model.
    """
    ids: list[str]
    """
    CoinGecko ids.
    """
    days: int
    """
    Days of history or days ahead; in a list, one entry for each day.
    """
    tune_trials: int
    """
    Trials of the tuner; 0 takes the configured parameters.
    """
    promote_if_better: bool
    """
    Whether production moves to the new version where the promotion gate allows it.
    """
    from_version: str
    """
    The version before, or the one whose lineage is retrained; may be empty.
    """


class TrainingVariantTest(Reply):
    """As `VariantTest` in the contract `coincast.training.v1`."""

    model: str
    """
    The name of the model.
    """
    version_a: str
    """
    The first version.
    """
    version_b: str
    """
    The second version.
    """
    pairs: int
    """
    Forecasts that both versions made of the same coin and day.
    """
    e_value: float | None
    """
    Evidence against equal quality; above 20 the better version is named at the 5 % level.
    """
    better: str
    """
    Which version is better so far: a, b or undecided.
    """
    from_date: Day
    """
    The first day that counts, YYYY-MM-DD.
    """


class TrendPoint(Reply):
    """One step of the grid."""

    at: AwareDatetime
    """
    Start of the step, RFC 3339, UTC.
    """
    sample: Sample | None
    """
    Null where nothing was sampled.
    """


class Trends(Reply):
    """A regular grid over the last hours."""

    hours: float
    """
    Hours back.
    """
    step_seconds: int
    """
    The length of a step, in seconds.
    """
    points: list[TrendPoint]
    """
    One entry for each step, oldest or nearest first.
    """
    gaps: list[Gap]
    """
    Spans without samples.
    """


class UsageDay(Reply):
    """Usage of a key on one UTC day."""

    date: date_aliased
    """
    The UTC day, YYYY-MM-DD.
    """
    calls: int
    """
    Answered requests.
    """
    rows: int
    """
    Rows of tables and items of the lists in replies; event streams count as none.
    """
    bytes: int
    """
    Bytes of the bodies that were sent, as compressed.
    """


class UsageReport(Reply):
    """The usage of API keys."""

    keys: list[KeyUsage]
    """
    One entry for each key.
    """


class Variant(Reply):
    """A version beside production."""

    alias: str
    """
    The name that points to a version: production, challenger or shadow.
    """
    version: str
    """
    The version; empty where there is none.
    """
    share: float
    """
    The share of traffic that the version answers, 0 to 1.
    """


class Volatility(Reply):
    """Volatility from as_of to the point's day."""

    annualised_percent: float
    """
    Forecast standard deviation of the log return, scaled to 365 days, in percent.
    """
    trailing_annualised_percent: float | None
    """
    Realised volatility of the trailing span, scaled to 365 days.
    """
    probability_of_increase: float | None
    """
    The chance that realised volatility will exceed the trailing one, 0 to 1.
    """
