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
    The feature's value at as_of; null if it is missing.
    """
    contribution: float
    """
    The feature's share of the output, in the output's own unit.
    """
    output: str
    """
    The output that is explained: volatility or mean.
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
    """The candle of one closed UTC day."""

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
    The reason, in a sentence; empty or null if there is none to give.
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
    """The paths of one coin; path n of each coin repeats the moves of the same past days."""

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
    Why it is stale or substituted; null if it is neither.
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
    The page_token of the next page; empty if this is the last one.
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
    The reason, in a sentence; empty or null if there is none to give.
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
    since: AwareDatetime | None
    """
    Since when it is not ok, as seen by this worker, RFC 3339, UTC; null if it is ok.
    """
    sentence: str
    """
    The status in words.
    """
    figures: dict[str, Any]
    """
    The figures of the component; empty if it does not answer.
    """


class Detailed(Reply):
    """The status of the whole system and of its components."""

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
    When the components were checked, RFC 3339, UTC.
    """
    components: list[Component]
    """
    The components, one entry each.
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
    The start of the forecast: the close of the newest hour, or of the last whole day.
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
    The version; empty if there is none.
    """
    served_by: str
    """
    The model that made the forecast; last_price if no model could.
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
    Why it is degraded; null if it is not.
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
    The out-of-sample accuracy, measured before the version was served.
    """
    attributions: list[Attribution]
    """
    The contribution of each feature to the forecast, if requested.
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
    Whether this forecast was not served at as_of, but made later from what was known then.
    """
    hourly_version: str | None = None
    """
    The hourly version that moved a forecast of days to the newest hour; otherwise null.
    """
    as_of_reason: str | None = None
    """
    Why a forecast of days starts from the last close and not from a later hour, or null.
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
    The forecasts, or the number of scored ones.
    """
    mase: float | None
    """
    Mean absolute error over the coin's mean daily step before the test; see random_walk_mase.
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
    The mase of the last price on the same days; mase is null without it.
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
    The kind of statement: touch, close_beyond or exceedance.
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
    The share of the statements that should come true as stated, in percent.
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
    Brier score: mean squared distance of stated probability and outcome; null if not scored.
    """
    brier_skill_percent: float | None
    """
    How much smaller brier is than if the observed share were stated, in percent.
    """
    loss_over_shortfall: float | None
    """
    Mean loss beyond the value at risk over the expected shortfall; null if none.
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
    The model that answered; empty if all are counted together.
    """


class ForecastLog(Reply):
    """Forecasts as they were served, oldest first."""

    forecasts: list[TrainingLoggedForecast]
    """
    One entry for each forecast and horizon.
    """
    truncated: bool
    """
    Whether the log has more entries than the limit.
    """
    errors: list[ItemError]
    """
    Errors of malformed ids.
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
    When the accuracy was measured, RFC 3339, UTC.
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
    The accuracy at each horizon.
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
    The loss that is exceeded with the level's remaining probability; null if refused.
    """
    expected_shortfall: float | None
    """
    The mean loss in the tail beyond the level, in vs_currency.
    """
    components: list[ForecastRiskComponent]
    """
    The components, one entry each.
    """
    refused: str
    """
    Why the level cannot be estimated, and which one can; empty if it can.
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
    Whether the tail has so few scenarios that the figure is only an indication.
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
    The version; empty if there is none.
    """
    served_by: str
    """
    The model that made the forecast; last_price if no model could.
    """
    degraded: bool
    """
    Whether another model or version than requested answered, or the data was stale.
    """
    reason: str
    """
    The reason, in a sentence; empty or null if there is none to give.
    """
    as_of: AwareDatetime | None
    """
    The close, or the hour of the day, that the scenarios start from, RFC 3339, UTC.
    """
    provenance: CommonProvenance | None
    """
    The source and age of the history.
    """
    scenarios: int
    """
    How many past days the scenarios are taken from.
    """
    first_origin_date: Day
    """
    The first past day whose moves a scenario repeats.
    """
    last_origin_date: Day
    """
    The last past day whose moves a scenario repeats.
    """
    borrowed_ids: list[str]
    """
    Coins with too few days of their own, which borrow the moves of other coins.
    """
    record_sentence: str
    """
    The accuracy of such answers on past days, in a sentence; empty if not measured.
    """
    live_records: list[ForecastLiveRiskRecord]
    """
    Accuracy of served answers of this kind; empty if none has been scored.
    """
    live_sentence: str
    """
    live_records in a sentence; empty if the answer states no probability.
    """
    recorded: bool
    """
    Whether the answer is in the log and will be scored when its days are over.
    """
    as_of_reason: str
    """
    Why the scenarios start from the last close although later hours may have closed; null otherwise.
    """
    reconstructed: bool
    """
    Whether the answer is of a past moment, made later from what was known then.
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
    The probability that the price touches the level by this day's close, 0 to 1.
    """
    close_beyond_probability: float | None
    """
    The probability that this day's close lies beyond the level, 0 to 1.
    """


class ForecastWorstScenario(Reply):
    """As `WorstScenario` in the contract `coincast.forecast.v1`."""

    origin_date: date_aliased
    """
    The past day whose moves, and those of the following days, the scenario repeats.
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
    The forecasts, or the number of scored ones.
    """
    errors: list[ItemError]
    """
    Items that could not be served, and why.
    """


class Gap(Reply):
    """A span without samples."""

    from_: Annotated[AwareDatetime, Field(alias="from")]
    """
    Start of the first step without a sample, RFC 3339, UTC.
    """
    to: AwareDatetime
    """
    End of the last step without a sample, RFC 3339, UTC.
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
    Why it is stale or substituted; null if it is neither.
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
    Why it is truncated; null if it is not.
    """
    missing_dates: list[date_aliased]
    """
    Days inside the span that no source has, at most 100.
    """
    completeness: Literal["unspecified", "whole", "cut_by_plan", "partial"]
    """
    whole: all that the source has; cut_by_plan: without days beyond the plan; partial: for now.
    """
    partial_reason: str | None
    """
    Why it is partial for now; null if it is not.
    """
    retry_after_seconds: float | None
    """
    Seconds after which a retry may return more; null otherwise.
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
    The `as_of` of the request; null if it had none.
    """


class HorizonRecord(Reply):
    """Out-of-sample accuracy of a version at one horizon."""

    horizon_days: int
    """
    Days ahead; 0 for a horizon in hours.
    """
    forecasts: int
    """
    The forecasts, or the number of scored ones.
    """
    mase: float | None
    """
    Mean absolute error over the coin's mean daily step before the test; see random_walk_mase.
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
    The mase of the last price on the same days; mase is null without it.
    """


class HourlyCandle(Reply):
    """The candle of one closed hour."""

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
    """One item of a list that could not be served."""

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
    The invalid field; null if the error is about none.
    """
    suggestions: list[str]
    """
    Nearest known ids, best first.
    """
    retry_after_seconds: float | None
    """
    Seconds after which a retry may succeed; null if it will not.
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
    The limit of calls in a month; null if there is none.
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
    Why CoinGecko is unavailable, as last known, with the remedy; null if it is available.
    """


class Market(Reply):
    """One coin of the market table."""

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
    Why it is stale or substituted; null if it is neither.
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
    The rank by market value, from 1; null if there is none.
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
    The most coins that can ever exist; null if there is no limit.
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
    The reason, in a sentence; empty or null if there is none to give.
    """
    version: str
    """
    The version; empty if there is none.
    """
    created_at: AwareDatetime | None
    """
    When the version was trained, RFC 3339, UTC; null if there is none.
    """
    max_horizon_days: int
    """
    The longest horizon in days; 0 if the model has none.
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
    The out-of-sample accuracy, measured before the version was served.
    """
    variants: list[Variant]
    """
    Versions beside production that take traffic or shadow it.
    """
    max_horizon_hours: int | None = 0
    """
    The longest horizon in hours; 0 if it has none.
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
    Why it is stale or substituted; null if it is neither.
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
    The median of the price, in vs_currency.
    """
    intervals: dict[str, Bounds]
    """
    By level in percent: 80 means that 80 % of outcomes should fall inside.
    """
    quantiles: dict[str, float]
    """
    Quantiles of the price by probability.
    """
    probability_of_rise: float | None
    """
    The probability that the close is above last_price.
    """
    volatility: Volatility | None
    """
    The forecast of volatility; null if there is none.
    """


class Portfolio(Reply):
    """The loss distribution of holdings that stay constant over the horizon."""

    basis: ForecastScenarioBasis | None
    """
    The model, the past days and the accuracy that the answer is based on.
    """
    errors: list[ItemError]
    """
    Coins that are not included in any figure, and why.
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
    How far the expected shortfall lies below the sum of the coins' own, in %.
    """
    worst: list[ForecastWorstScenario]
    """
    The worst scenarios, worst first.
    """
    holdings: list[ForecastPricedHolding]
    """
    The holdings that are included in the figures, with their prices.
    """


class Price(Reply):
    """The price of one coin in one currency."""

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
    Why it is stale or substituted; null if it is neither.
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
    The invalid parameter.
    """
    allowed: str | None = None
    """
    The allowed values.
    """
    suggestions: list[str] | None = None
    """
    Nearest known names, best first.
    """
    retry_after_seconds: int | None = None
    """
    The value of Retry-After.
    """
    errors: list[dict[str, Any]] | None = None
    """
    All errors, one entry each.
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
    Points that the source sent more than once.
    """
    quarantined_points: int
    """
    Points that were quarantined as implausible.
    """
    last_good_date: date_aliased | None
    """
    The newest day without defects; null if unknown.
    """
    notes: list[str]
    """
    Findings in sentences, newest first.
    """


class Ready(Reply):
    """The gateway is ready: forecasts can be served."""

    status: Literal["ready"]
    """
    The status.
    """
    checks: list[Check]
    """
    The conditions of readiness, one entry each.
    """


class Record(Reply):
    """Out-of-sample accuracy of the version, measured before it was served."""

    measured_at: AwareDatetime | None
    """
    When the accuracy was measured, RFC 3339, UTC.
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
    The accuracy at each horizon.
    """


class Sample(Reply):
    """Means over one span of time; for latencies, errors, CPU and memory the highest value.

    With several workers the gateway's own figures are those of the worker that wrote last.
    """

    at: AwareDatetime
    """
    The time of the last reading in the span, RFC 3339, UTC.
    """
    samples: int
    """
    Readings in the span.
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
    The worst status of each component within the span.
    """


class Scenarios(Reply):
    """Joint price paths, distributed on each day as the forecasts."""

    basis: ForecastScenarioBasis
    """
    The model, the past days and the accuracy that the paths are based on.
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
    The past day whose moves, and those of the following days, each path repeats.
    """
    coins: list[CoinPaths]
    """
    The coins.
    """
    errors: list[ItemError]
    """
    Coins that are not included in any figure, and why.
    """


class Touch(Reply):
    """The probability that each coin touches each level, by day."""

    basis: ForecastScenarioBasis | None
    """
    The model, the past days and the accuracy that the answer is based on.
    """
    errors: list[ItemError]
    """
    Coins that are not included in any figure, and why.
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
    The version that the alias production names; empty if there is none.
    """
    challenger_version: str
    """
    The version that the alias challenger names; empty if there is none.
    """
    challenger_share: float | None
    """
    The share of traffic that the challenger answers, 0 to 1.
    """
    shadow_version: str
    """
    The version that the alias shadow names; empty if there is none.
    """


class TrainingAuditEntry(Reply):
    """As `AuditEntry` in the contract `coincast.training.v1`."""

    at: AwareDatetime | None
    """
    When it was done, RFC 3339, UTC.
    """
    requested_by: str
    """
    The origin of the request: the name of an API key, cli, schedule or drift.
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
    The previous version, or the one whose training is repeated; may be empty.
    """
    to_version: str
    """
    The version after the change; empty if there is none.
    """
    reason: str
    """
    The reason, in a sentence; empty or null if there is none to give.
    """
    revision: int
    """
    The revision of the alias table; each change raises it by 1.
    """
    forced: bool
    """
    Whether the version was promoted although it failed the promotion gate.
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
    The version; empty if there is none.
    """
    record: ForecastRecord | None
    """
    The out-of-sample accuracy, measured before the version was served.
    """


class TrainingGetAccuracyResponse(Reply):
    """As `GetAccuracyResponse` in the contract `coincast.training.v1`."""

    live: list[TrainingLiveRecord]
    """
    The accuracy of served forecasts whose outcome is known.
    """
    evaluated: list[TrainingEvaluatedRecord]
    """
    The out-of-sample accuracy of the production versions.
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
    The accuracy by the hour of the day that the forecasts start from.
    """
    risk: list[ForecastLiveRiskRecord]
    """
    Accuracy of served risk answers, by kind, horizon and stated probability or level; empty for one coin.
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
    The specification of the job.
    """
    state: Literal["unspecified", "queued", "running", "succeeded", "failed", "cancelled", "interrupted"]
    """
    The state of the job.
    """
    progress: float | None
    """
    The share that is done, 0 to 1.
    """
    stage: str
    """
    The current step of the job, in a few words.
    """
    submitted_at: AwareDatetime | None
    """
    When the job was submitted, RFC 3339, UTC.
    """
    started_at: AwareDatetime | None
    """
    When the job was started, RFC 3339, UTC; null while it is queued.
    """
    finished_at: AwareDatetime | None
    """
    When the job ended, RFC 3339, UTC; null until then.
    """
    remaining_seconds: float | None
    """
    The estimated time left, in seconds.
    """
    version: str
    """
    The version; empty if there is none.
    """
    error: str
    """
    Why it failed, in a sentence; empty if it did not.
    """
    requested_by: str
    """
    The origin of the request: the name of an API key, cli, schedule or drift.
    """
    promotion: str
    """
    Whether production was set to the version, and why or why not.
    """
    attempt: int
    """
    How often the job was started again after a restart of the worker.
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
    Age of the oldest entry that waits to be written, in seconds.
    """
    open_risk_statements: int
    """
    Served risk answers that wait for the close of their days.
    """
    scored_risk_chances: int
    """
    Probabilities of served risk answers whose outcome is known.
    """
    risk_lag_entries: int
    """
    Served risk answers that wait to be written to disk.
    """
    risk_lag_seconds: float | None
    """
    Age of the oldest served risk answer that waits to be written, in seconds.
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
    The version; empty if there is none.
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
    The accuracy at one horizon.
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
    The version; empty if there is none.
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
    The actual price, in vs_currency; null until it is known.
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
    The model that made the forecast; last_price if no model could.
    """


class TrainingModelVersion(Reply):
    """As `ModelVersion` in the contract `coincast.training.v1`."""

    model: str
    """
    The name of the model.
    """
    version: str
    """
    The version; empty if there is none.
    """
    created_at: AwareDatetime | None
    """
    When the version was trained, RFC 3339, UTC; null if there is none.
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
    The version whose training was repeated; empty if there is none.
    """
    record: ForecastRecord | None
    """
    The out-of-sample accuracy, measured before the version was served.
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
    The loss that is compared: crps or absolute_error.
    """
    forecasts: int
    """
    The forecasts, or the number of scored ones.
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
    The test statistic; positive if the second version is better.
    """
    p_value: float | None
    """
    The probability of a difference at least as large if both versions are equally good.
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
    The version; empty if there is none.
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
    Trials of the hyperparameter search; 0 uses the configured parameters.
    """
    promote_if_better: bool
    """
    Whether the new version is promoted to production if it passes the promotion gate.
    """
    from_version: str
    """
    The previous version, or the one whose training is repeated; may be empty.
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
    Evidence against equal quality; above 20 the versions differ at the 5 % level.
    """
    better: str
    """
    Which version is better so far: a, b or undecided.
    """
    from_date: Day
    """
    The first day included, YYYY-MM-DD.
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
    Rows of tables and items of the lists in replies; event streams have none.
    """
    bytes: int
    """
    Bytes of the response bodies as sent, after compression.
    """


class UsageReport(Reply):
    """The usage of API keys."""

    keys: list[KeyUsage]
    """
    One entry for each key.
    """


class Variant(Reply):
    """A version that an alias other than production names."""

    alias: str
    """
    The name that points to a version: production, challenger or shadow.
    """
    version: str
    """
    The version; empty if there is none.
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
    Realised volatility of the trailing span, scaled to 365 days, percent.
    """
    probability_of_increase: float | None
    """
    The probability that realised volatility will exceed the trailing one.
    """
