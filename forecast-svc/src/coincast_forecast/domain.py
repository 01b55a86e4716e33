"""Domain objects: queries, histories, forecasts, records and provenance. No input or output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum

from coincast_chassis.errors import Unavailable
from coincast_modelkit.candles import Candles
from coincast_modelkit.hourly.candles import HourlyCandles

PRODUCTION = "production"
CHALLENGER = "challenger"
SHADOW = "shadow"

LIGHTGBM = "lightgbm"
LSTM = "lstm"
ENSEMBLE = "ml_ensemble"
TECHNICAL = "technical"
AUTO = "auto"
LAST_PRICE = "last_price"

TRAINED_MODELS = (ENSEMBLE, LIGHTGBM, LSTM)
ASKABLE_MODELS = (LIGHTGBM, LSTM, ENSEMBLE, TECHNICAL, AUTO)

MAX_IDS = 250
MAX_DAYS = 30
MAX_ATTRIBUTIONS = 20
DEFAULT_DAYS = 7
DEFAULT_LEVELS_PERCENT = (80.0, 95.0)


def close_of(day: date) -> datetime:
    """Return the time at which a UTC day closes: the next midnight."""
    return datetime.combine(day + timedelta(days=1), time(), tzinfo=UTC)


def last_close_before(moment: datetime) -> datetime:
    """Return the newest daily close at or before a time: the midnight that starts its UTC day."""
    return datetime.combine(moment.date(), time(), tzinfo=UTC)


class Source(StrEnum):
    """Source of data, as in coincast.common.v1."""

    UNSPECIFIED = "unspecified"
    LIVE = "live"
    FRESH = "fresh"
    STALE = "stale"
    ARCHIVE = "archive"
    SANDBOX = "sandbox"


class Cause(StrEnum):
    """Cause of a failed step or of incomplete data; it is a label of a metric."""

    NOT_LOADED = "not_loaded"
    REFUSED = "refused"
    RAISED = "raised"
    TIMED_OUT = "timed_out"
    STUCK = "stuck"
    NOT_FINITE = "not_finite"
    IMPLAUSIBLE = "implausible"
    NOT_ABLE = "not_able"
    STALE_HISTORY = "stale_history"
    PARTIAL_HISTORY = "partial_history"
    UNCONFIRMED_HISTORY = "doubted_history"


@dataclass(frozen=True, slots=True)
class StepFailure:
    """A failed step: its cause for metrics, and a sentence for the reply."""

    cause: Cause
    sentence: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """Source of a history, and whether the history is stale.

    `clock_offset_seconds` plus this machine's monotonic clock is the upstream's UNIX time. Ages computed from
    it are right even if the wall clock jumps, and with the sandbox, whose calendar is shifted. None if
    unknown.
    """

    source: Source
    stale: bool = False
    reason: str = ""
    clock_offset_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class History:
    """The closed days of one coin and their provenance.

    `partial_reason` is set if the source has more days than it could deliver so far; `retry_after_seconds` is
    then the time after which a further request may return more. `doubt_reason` is set while the newest days
    are not confirmed. `from_sparkline` marks a week of closes from a sparkline, whose times are assumed; it
    is used only for market features. `ranges_pending` marks a partial history with all closes, in which only
    highs and lows of some days are missing.
    """

    candles: Candles
    provenance: Provenance
    partial_reason: str = ""
    retry_after_seconds: float | None = None
    doubt_reason: str = ""
    from_sparkline: bool = False
    ranges_pending: bool = False

    @property
    def is_whole(self) -> bool:
        """Return whether the history is complete and confirmed."""
        return not self.partial_reason and not self.doubt_reason


@dataclass(frozen=True, slots=True, eq=False)
class HourlyHistory:
    """One coin's hours and their provenance; `doubt_reason` is set while they are not confirmed."""

    candles: HourlyCandles
    provenance: Provenance
    doubt_reason: str = ""


def partial_error(coin: str, reason: str, retry_after_seconds: float | None) -> Unavailable:
    """Return the error for a partial history that is too short for a forecast."""
    return Unavailable(
        f"the history of {coin} is incomplete for now: {reason}",
        retry_after_seconds=5.0 if retry_after_seconds is None else retry_after_seconds,
    )


@dataclass(frozen=True, slots=True)
class ForecastQuery:
    """One valid request: ids are lower case without duplicates, levels and probabilities are sorted.

    `as_of` requests a forecast from a past time, a full UTC hour, with the data known then. Midnight is the
    close of the previous day.
    """

    ids: tuple[str, ...]
    vs_currency: str = "usd"
    days: int = DEFAULT_DAYS
    model: str = AUTO
    levels_percent: tuple[float, ...] = DEFAULT_LEVELS_PERCENT
    quantile_probabilities: tuple[float, ...] = ()
    attribution_features: int = 0
    client_key: str = ""
    as_of: datetime | None = None

    @property
    def options(self) -> RenderOptions:
        """Return the horizon, interval levels and quantile probabilities of the reply."""
        return RenderOptions(self.days, self.levels_percent, self.quantile_probabilities)


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """The horizon, interval levels and quantile probabilities of a rendered distribution.

    Attributes:
        days: Number of horizons, in days, or in hours for an hourly forecast.
        levels_percent: Nominal coverage of the intervals, 0 to 100.
        quantile_probabilities: Probabilities of further quantiles, 0 to 1.
    """

    days: int
    levels_percent: tuple[float, ...]
    quantile_probabilities: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class HorizonRecord:
    """Out-of-sample accuracy of a version at one horizon; None where it was not measured."""

    horizon_days: int
    forecasts: int = 0
    mase: float | None = None
    mape_percent: float | None = None
    random_walk_mape_percent: float | None = None
    skill_percent: float | None = None
    crps_skill_percent: float | None = None
    coverage_80_percent: float | None = None
    coverage_95_percent: float | None = None
    coverage_80_standard_error: float | None = None
    independent_periods: int | None = None
    # Set for a horizon in hours; horizon_days is then 0.
    horizon_hours: int = 0
    random_walk_mase: float | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """The walk-forward record of a version: time, test data, and figures by horizon."""

    measured_at: datetime | None = None
    test_coins: str = ""
    test_from_date: str = ""
    test_to_date: str = ""
    horizons: tuple[HorizonRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class Attribution:
    """Contribution of one feature to one output at one horizon (SHAP)."""

    feature: str
    value: float | None
    contribution: float
    output: str
    horizon_days: int


@dataclass(frozen=True, slots=True)
class IntervalColumn:
    """Bounds of one interval level, one value per day."""

    level_percent: float
    lower: tuple[float, ...]
    upper: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class QuantileColumn:
    """Prices of one probability, one value per day."""

    probability: float
    prices: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ForecastColumns:
    """A forecast as columns of equal length, one entry per day or hour ahead."""

    prices: tuple[float, ...]
    intervals: tuple[IntervalColumn, ...]
    quantiles: tuple[QuantileColumn, ...]
    rise_probability: tuple[float | None, ...]
    volatility_annualised_percent: tuple[float, ...]
    trailing_annualised_percent: tuple[float | None, ...]
    volatility_rise_probability: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Start:
    """The hour of the day from which a forecast starts.

    Attributes:
        hours: Closed hours since the last daily close; 0 at the close itself.
        hourly_version: The version of the hourly model that updated the forecast; empty at the close.
        reason: Why the forecast starts from the close although later hours may have closed; empty if there is
            nothing to explain.
    """

    hours: int = 0
    hourly_version: str = ""
    reason: str = ""


CLOSE = Start()


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class CoinForecast:
    """One coin's rendered daily or hourly forecast.

    Instances are compared by identity, so that their encoded bytes can be cached.
    """

    coin_id: str
    vs_currency: str
    day: date
    last_price: float
    model: str
    version: str
    served_by: str
    degraded: bool
    reason: str
    variant: str
    forecast_id: str
    curve: ForecastColumns
    record: Record | None = None
    attributions: tuple[Attribution, ...] = ()
    attributions_reason: str = ""
    reconstructed: bool = False
    start: Start = CLOSE
    # True: the columns have one entry per hour ahead. False: one per day.
    by_the_hour: bool = False

    @property
    def as_of(self) -> datetime:
        """Return the time of the daily or hourly close from which the forecast starts."""
        return close_of(self.day) + timedelta(hours=self.start.hours)


@dataclass(frozen=True, slots=True)
class ServedForecast:
    """A forecast and the current provenance of its history."""

    forecast: CoinForecast
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class VariantStatus:
    """A deployed version and its share of traffic."""

    alias: str
    version: str
    share: float


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """State of one model that can be requested."""

    name: str
    description: str
    ready: bool
    reason: str
    version: str = ""
    created_at: datetime | None = None
    max_horizon_days: int = MAX_DAYS
    max_horizon_hours: int = 0
    min_history_days: int = 0
    trained_coins: tuple[str, ...] = ()
    record: Record | None = None
    variants: tuple[VariantStatus, ...] = ()


@dataclass(frozen=True, slots=True)
class Loaded:
    """A loaded version and its alias."""

    model: str
    version: str
    alias: str
    loaded_at: datetime
    created_at: datetime | None


@dataclass(frozen=True, slots=True)
class Refused:
    """A version that failed its verification, with the reason."""

    model: str
    version: str
    reason: str
    refused_at: datetime


@dataclass(frozen=True, slots=True)
class HistoryCounts:
    """Counters of the history cache."""

    coins: int = 0
    hits: int = 0
    misses: int = 0


@dataclass(frozen=True, slots=True)
class LedgerCounts:
    """Counters of the forecast log."""

    appended_total: int = 0
    spooled: int = 0
    redis_up: bool = False


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """The reply of GetStatus."""

    version: str
    uptime_seconds: float
    loaded: tuple[Loaded, ...]
    refused: tuple[Refused, ...]
    history: HistoryCounts
    ledger: LedgerCounts
    market_data_up: bool


@dataclass(frozen=True, slots=True)
class LiveScores:
    """Recent live skill in percent by (model, coin, horizon_days); the coin "" means all coins."""

    skill_percent: Mapping[tuple[str, str, int], float] = field(default_factory=dict)
