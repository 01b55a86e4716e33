"""The gateway's replies, generated from its OpenAPI by `python deploy/client_schemas.py`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from coincast_client.base import Reply


class Attribution(Reply):
    """What moved the forecast."""

    feature: str
    value: float | None
    contribution: float
    output: str
    horizon_days: int


class Bounds(Reply):
    """An interval of prices."""

    lower: float
    upper: float


class Candle(Reply):
    """One closed UTC day."""

    date: str
    open: float | None
    high: float | None
    low: float | None
    close: float
    volume: float | None
    market_cap: float | None


class Check(Reply):
    """One thing that must hold before the gateway is ready."""

    name: str
    ready: bool
    reason: str


class Coin(Reply):
    """One coin of the catalogue."""

    id: str
    symbol: str
    name: str


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

    as_of: Annotated[str | None, Field(examples=["2026-11-21T00:00:00Z"])]
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

    as_of: str | None
    age_seconds: float | None
    source: Literal["unspecified", "live", "fresh", "stale", "archive", "sandbox"]
    stale: bool
    reason: str


class Component(Reply):
    """One part of the system."""

    name: Literal["gateway", "market-data", "forecast", "training", "redis"]
    status: Literal["ok", "degraded", "down"]
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
    sentence: str
    checked_at: str
    components: list[Component]


class Explanation(Reply):
    """What moved one coin's forecast, beside the forecast itself."""

    forecast: Forecast
    kind: Literal["shap"]
    """
    Contributions are SHAP values, in the output's own unit.
    """


class Forecast(Reply):
    """One coin's forecast."""

    id: str
    vs_currency: str
    as_of: str
    """
    The close of the last whole day: what the forecast stands on.
    """
    age_seconds: float
    """
    Seconds from as_of to the sending of this reply, also where it comes from a cache.
    """
    last_price: float
    model: str
    """
    What was asked for; auto is resolved.
    """
    version: str
    served_by: str
    """
    Who answered; last_price where no model could.
    """
    variant: str
    degraded: bool
    """
    Whether someone else than the model asked for answered, or on stale data.
    """
    reason: str | None
    """
    Why it is degraded; null where it is not.
    """
    source: Literal["unspecified", "live", "fresh", "stale", "archive", "sandbox"]
    stale: bool
    points: list[Point]
    record: Record | None
    attributions: list[Attribution]
    attributions_reason: str | None = None
    """
    Why attributions that were asked for are missing; null where they are not.
    """
    forecast_id: str


class ForecastChangeQuantile(Reply):
    """As `ChangeQuantile` in the contract `coincast.forecast.v1`."""

    probability: float | None
    change: float | None
    change_percent: float | None


class ForecastCoinTouch(Reply):
    """As `CoinTouch` in the contract `coincast.forecast.v1`."""

    id: str
    last_price: float | None
    levels: list[ForecastLevelTouch]


class ForecastHorizonRecord(Reply):
    """As `HorizonRecord` in the contract `coincast.forecast.v1`."""

    horizon_days: int
    forecasts: int
    mase: float | None
    mape_percent: float | None
    random_walk_mape_percent: float | None
    skill_percent: float | None
    crps_skill_percent: float | None
    coverage_80_percent: float | None
    coverage_95_percent: float | None
    horizon_hours: int
    coverage_80_standard_error: float | None
    independent_periods: int | None


class ForecastInterval(Reply):
    """As `Interval` in the contract `coincast.forecast.v1`."""

    level_percent: float | None
    lower: float | None
    upper: float | None


class ForecastLevelTouch(Reply):
    """As `LevelTouch` in the contract `coincast.forecast.v1`."""

    price: float | None
    percent: float | None
    days: list[ForecastTouchDay]


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
    amount: float | None
    price: float | None
    value: float | None
    price_as_of: str | None


class ForecastQuantile(Reply):
    """As `Quantile` in the contract `coincast.forecast.v1`."""

    probability: float | None
    price: float | None


class ForecastRecord(Reply):
    """As `Record` in the contract `coincast.forecast.v1`."""

    measured_at: str | None
    test_coins: list[str]
    test_from_date: str
    test_to_date: str
    horizons: list[ForecastHorizonRecord]


class ForecastRiskComponent(Reply):
    """As `RiskComponent` in the contract `coincast.forecast.v1`."""

    id: str
    expected_shortfall: float | None
    share_percent: float | None


class ForecastRiskLevel(Reply):
    """As `RiskLevel` in the contract `coincast.forecast.v1`."""

    level_percent: float | None
    value_at_risk: float | None
    expected_shortfall: float | None
    components: list[ForecastRiskComponent]
    refused: str
    tail_scenarios: int
    tail_episodes: int
    indicative: bool
    relative_error_percent: float | None


class ForecastScenarioBasis(Reply):
    """As `ScenarioBasis` in the contract `coincast.forecast.v1`."""

    model: str
    version: str
    served_by: str
    degraded: bool
    reason: str
    as_of: str | None
    provenance: CommonProvenance | None
    scenarios: int
    first_origin_date: str
    last_origin_date: str
    borrowed_ids: list[str]
    record_sentence: str


class ForecastTouchDay(Reply):
    """As `TouchDay` in the contract `coincast.forecast.v1`."""

    date: str
    horizon_days: int
    touch_probability: float | None
    close_beyond_probability: float | None


class ForecastWorstScenario(Reply):
    """As `WorstScenario` in the contract `coincast.forecast.v1`."""

    origin_date: str
    change: float | None
    change_percent: float | None


class Forecasts(Reply):
    """Forecasts, and the coins that have none."""

    forecasts: list[Forecast]
    errors: list[ItemError]


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

    as_of: Annotated[str | None, Field(examples=["2026-11-21T00:00:00Z"])]
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
    Whether fewer days were to be had than were asked for.
    """
    truncated_reason: str | None
    """
    Why it is truncated; null where it is not.
    """
    missing_dates: list[str]
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
    What to know of these candles: restated, put aside.
    """
    in_doubt: bool
    """
    Whether the newest candles wait for confirmation.
    """
    known_at: str | None = None
    """
    The moment of `as_of`, where the request had one.
    """


class HorizonRecord(Reply):
    """How well a version did at one horizon, out of sample."""

    horizon_days: int
    forecasts: int
    mase: float | None
    mape_percent: float | None
    random_walk_mape_percent: float | None
    skill_percent: float | None
    crps_skill_percent: float | None
    coverage_80_percent: float | None
    coverage_95_percent: float | None
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


class HourlyCandle(Reply):
    """One closed hour."""

    time: str
    """
    The start of the hour, RFC 3339, UTC.
    """
    open: float | None
    high: float | None
    low: float | None
    close: float
    volume: float | None
    """
    Traded value over the hour, in vs_currency.
    """


class ItemError(Reply):
    """One item of a list that could not be served; the others are."""

    id: str
    """
    The item as it was asked for.
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
    message: str
    """
    What is wrong, and what mends it.
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


class Live(Reply):
    """The process answers."""

    status: Literal["alive"]
    version: str


class Market(Reply):
    """One coin of the list."""

    as_of: Annotated[str | None, Field(examples=["2026-11-21T00:00:00Z"])]
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
    symbol: str
    name: str
    vs_currency: str
    price: float | None
    market_cap: float | None
    market_cap_rank: int | None
    volume_24h: float | None
    high_24h: float | None
    low_24h: float | None
    change_24h_percent: float | None
    circulating_supply_coins: float | None
    total_supply_coins: float | None
    max_supply_coins: float | None
    all_time_high: float | None
    last_updated_at: str | None


class Markets(Reply):
    """A page of coins."""

    markets: list[Market]
    errors: list[ItemError]


class Model(Reply):
    """A model that can be asked for."""

    name: str
    description: str
    ready: bool
    reason: str
    version: str
    created_at: str | None
    max_horizon_days: int
    min_history_days: int
    trained_coins: list[str]
    record: Record | None
    variants: list[Variant]


class Models(Reply):
    """The models."""

    models: list[Model]


class Ohlc(Reply):
    """Candles of one coin."""

    as_of: Annotated[str | None, Field(examples=["2026-11-21T00:00:00Z"])]
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
    vs_currency: str
    candles: list[OhlcCandle]


class OhlcCandle(Reply):
    """One candle."""

    closed_at: str
    open: float
    high: float
    low: float
    close: float


class Point(Reply):
    """The distribution of one day's close."""

    date: str
    horizon_days: int
    """
    0 for a horizon in hours.
    """
    horizon_hours: int | None = None
    """
    The horizon in hours, where hours were asked for.
    """
    closes_at: str | None = None
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


class Portfolio(Reply):
    """The loss distribution of holdings that are left alone."""

    basis: ForecastScenarioBasis | None
    errors: list[ItemError]
    """
    Coins that are part of no figure, and why.
    """
    vs_currency: str
    days: int
    value: float | None
    gross_value: float | None
    change_quantiles: list[ForecastChangeQuantile]
    levels: list[ForecastRiskLevel]
    diversification_percent: float | None
    worst: list[ForecastWorstScenario]
    holdings: list[ForecastPricedHolding]


class Price(Reply):
    """One coin in one currency."""

    as_of: Annotated[str | None, Field(examples=["2026-11-21T00:00:00Z"])]
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
    vs_currency: str
    price: float
    market_cap: float | None
    volume_24h: float | None
    change_24h_percent: float | None
    """
    1.5 means +1.5 %.
    """
    last_updated_at: str | None


class Prices(Reply):
    """Spot prices."""

    prices: list[Price]
    errors: list[ItemError]


class ProblemDocument(Reply):
    """An error, RFC 9457."""

    type: str
    """
    Stable name of the kind of problem; the page under this path explains it.
    """
    title: str
    status: int
    detail: str
    """
    What is wrong, and what mends it.
    """
    instance: str
    """
    The path that was asked for.
    """
    request_id: str
    """
    Finds this very request in the logs.
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
    """What is known to be wrong with the history of one coin."""

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
    Points that were put aside as implausible.
    """
    last_good_date: str | None
    """
    The newest day that is in order; null where unknown.
    """
    notes: list[str]
    """
    What was found, in plain sentences, newest first.
    """


class Ready(Reply):
    """Everything that a forecast needs is there."""

    status: Literal["ready"]
    checks: list[Check]


class Record(Reply):
    """What was measured before the version was served."""

    measured_at: str | None
    test_coins: list[str]
    """
    The coins of the test.
    """
    test_from_date: str
    test_to_date: str
    horizons: list[HorizonRecord]


class Sample(Reply):
    """Means over one span of time, and the worst value where the extreme matters.

    With several workers the gateway's own figures are those of the worker that wrote last.
    """

    at: str
    """
    The last reading, RFC 3339, UTC.
    """
    samples: int
    """
    Readings in this span.
    """
    requests_per_second: float | None
    server_error_share: float | None
    hot_hit_rate: float | None
    cpu_percent: float | None
    memory_mb: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    statuses: dict[str, Literal["ok", "degraded", "down"]]


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
    dates: list[str]
    """
    The day of each value.
    """
    origin_dates: list[str]
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
    errors: list[ItemError]
    """
    Coins that are part of no figure, and why.
    """
    coins: list[ForecastCoinTouch]


class TrainingAliasTable(Reply):
    """As `AliasTable` in the contract `coincast.training.v1`."""

    model: str
    revision: int
    production_version: str
    challenger_version: str
    challenger_share: float | None
    shadow_version: str


class TrainingAuditEntry(Reply):
    """As `AuditEntry` in the contract `coincast.training.v1`."""

    at: str | None
    requested_by: str
    model: str
    action: str
    alias: str
    from_version: str
    to_version: str
    reason: str
    revision: int
    forced: bool


class TrainingCancelJobResponse(Reply):
    """As `CancelJobResponse` in the contract `coincast.training.v1`."""

    job: TrainingJob | None


class TrainingCleanVersionsResponse(Reply):
    """As `CleanVersionsResponse` in the contract `coincast.training.v1`."""

    removed: list[str]
    table: TrainingAliasTable | None


class TrainingCompareVersionsResponse(Reply):
    """As `CompareVersionsResponse` in the contract `coincast.training.v1`."""

    a: TrainingModelVersion | None
    b: TrainingModelVersion | None
    tests: list[TrainingPairedTest]
    verdict: str


class TrainingEvaluatedRecord(Reply):
    """As `EvaluatedRecord` in the contract `coincast.training.v1`."""

    model: str
    version: str
    record: ForecastRecord | None


class TrainingGetAccuracyResponse(Reply):
    """As `GetAccuracyResponse` in the contract `coincast.training.v1`."""

    live: list[TrainingLiveRecord]
    evaluated: list[TrainingEvaluatedRecord]
    tests: list[TrainingVariantTest]
    ledger: TrainingLedgerStatus | None


class TrainingGetJobLogsResponse(Reply):
    """As `GetJobLogsResponse` in the contract `coincast.training.v1`."""

    lines: list[str]


class TrainingGetJobResponse(Reply):
    """As `GetJobResponse` in the contract `coincast.training.v1`."""

    job: TrainingJob | None


class TrainingJob(Reply):
    """As `Job` in the contract `coincast.training.v1`."""

    job_id: str
    spec: TrainingTrainingSpec | None
    state: Literal["unspecified", "queued", "running", "succeeded", "failed", "cancelled", "interrupted"]
    progress: float | None
    stage: str
    submitted_at: str | None
    started_at: str | None
    finished_at: str | None
    remaining_seconds: float | None
    version: str
    error: str
    requested_by: str
    promotion: str
    attempt: int


class TrainingLedgerStatus(Reply):
    """As `LedgerStatus` in the contract `coincast.training.v1`."""

    stored_forecasts: int
    scored_forecasts: int
    lag_entries: int
    lag_seconds: float | None


class TrainingListAuditResponse(Reply):
    """As `ListAuditResponse` in the contract `coincast.training.v1`."""

    entries: list[TrainingAuditEntry]


class TrainingListJobsResponse(Reply):
    """As `ListJobsResponse` in the contract `coincast.training.v1`."""

    jobs: list[TrainingJob]


class TrainingListVersionsResponse(Reply):
    """As `ListVersionsResponse` in the contract `coincast.training.v1`."""

    versions: list[TrainingModelVersion]
    tables: list[TrainingAliasTable]


class TrainingLiveRecord(Reply):
    """As `LiveRecord` in the contract `coincast.training.v1`."""

    model: str
    version: str
    id: str
    variant: str
    horizon: ForecastHorizonRecord | None


class TrainingLoggedForecast(Reply):
    """As `LoggedForecast` in the contract `coincast.training.v1`."""

    forecast_id: str
    id: str
    vs_currency: str
    model: str
    version: str
    variant: str
    as_of: str | None
    served_at: str | None
    horizon_days: int
    horizon_hours: int
    closes_at: str | None
    last_price: float | None
    median: float | None
    intervals: list[ForecastInterval]
    quantiles: list[ForecastQuantile]
    outcome: float | None
    crps: float | None
    degraded: bool | None


class TrainingModelVersion(Reply):
    """As `ModelVersion` in the contract `coincast.training.v1`."""

    model: str
    version: str
    created_at: str | None
    aliases: list[str]
    retired: bool
    signed: bool
    coins: list[str]
    data_from_date: str
    data_to_date: str
    data_hash: str
    code_version: str
    parent_version: str
    record: ForecastRecord | None
    size_bytes: int


class TrainingPairedTest(Reply):
    """As `PairedTest` in the contract `coincast.training.v1`."""

    horizon_days: int
    loss: str
    forecasts: int
    mean_loss_a: float | None
    mean_loss_b: float | None
    statistic: float | None
    p_value: float | None
    horizon_hours: int


class TrainingPromoteVersionResponse(Reply):
    """As `PromoteVersionResponse` in the contract `coincast.training.v1`."""

    table: TrainingAliasTable | None
    verdict: str


class TrainingRetireVersionResponse(Reply):
    """As `RetireVersionResponse` in the contract `coincast.training.v1`."""

    version: TrainingModelVersion | None


class TrainingRollbackModelResponse(Reply):
    """As `RollbackModelResponse` in the contract `coincast.training.v1`."""

    table: TrainingAliasTable | None


class TrainingSubmitJobResponse(Reply):
    """As `SubmitJobResponse` in the contract `coincast.training.v1`."""

    job: TrainingJob | None


class TrainingTrainingSpec(Reply):
    """As `TrainingSpec` in the contract `coincast.training.v1`."""

    model: str
    ids: list[str]
    days: int
    tune_trials: int
    promote_if_better: bool
    from_version: str


class TrainingVariantTest(Reply):
    """As `VariantTest` in the contract `coincast.training.v1`."""

    model: str
    version_a: str
    version_b: str
    pairs: int
    e_value: float | None
    better: str
    from_date: str


class TrendPoint(Reply):
    """One step of the grid."""

    at: str
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
    step_seconds: int
    points: list[TrendPoint]
    gaps: list[Gap]


class Variant(Reply):
    """A version beside production."""

    alias: str
    version: str
    share: float


class Volatility(Reply):
    """Volatility from as_of to the point's day."""

    annualised_percent: float
    trailing_annualised_percent: float | None
    probability_of_increase: float | None
