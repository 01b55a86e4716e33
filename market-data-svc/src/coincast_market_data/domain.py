"""Domain types of market data: quotes, coins, candles, histories and their provenance."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

from coincast_chassis.errors import CoincastError


class Completeness(StrEnum):
    """Whether a history has all the days of its source, and if not, why."""

    WHOLE = "whole"
    CUT_BY_PLAN = "cut_by_plan"
    PARTIAL = "partial"


class Source(StrEnum):
    """Where a figure comes from; the values are those of the JSON replies."""

    LIVE = "live"
    FRESH = "fresh"
    STALE = "stale"
    ARCHIVE = "archive"
    SANDBOX = "sandbox"


@dataclass(frozen=True, slots=True)
class Provenance:
    """The provenance of a reply. Times are UNIX seconds on the upstream's clock."""

    as_of: float
    age_seconds: float
    source: Source
    stale: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Quote:
    """The price of one coin in one currency; None means that the upstream does not give a figure."""

    id: str
    vs_currency: str
    price: float
    market_cap: float | None = None
    volume_24h: float | None = None
    change_24h_percent: float | None = None
    last_updated_at: float | None = None


@dataclass(frozen=True, slots=True)
class ItemFailure:
    """One item of a list that could not be served. `kind` is a name of the error tree, in lower case."""

    id: str
    kind: str
    message: str
    field: str = ""
    suggestions: tuple[str, ...] = ()
    retry_after_seconds: float | None = None
    # The error that was raised, if any; its own cause may be CoinGecko's reply.
    cause: CoincastError | None = dataclasses.field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Coin:
    """One entry of the catalogue."""

    id: str
    symbol: str
    name: str


@dataclass(frozen=True, slots=True)
class Market:
    """One row of the market table."""

    id: str
    symbol: str
    name: str
    vs_currency: str
    price: float | None = None
    market_cap: float | None = None
    market_cap_rank: int | None = None
    volume_24h: float | None = None
    high_24h: float | None = None
    low_24h: float | None = None
    change_24h_percent: float | None = None
    circulating_supply_coins: float | None = None
    total_supply_coins: float | None = None
    max_supply_coins: float | None = None
    all_time_high: float | None = None
    last_updated_at: float | None = None


@dataclass(frozen=True, slots=True)
class Candle:
    """The candle of one closed UTC day; None means that no source gives a figure."""

    day: date
    close: float
    open: float | None = None
    high: float | None = None
    low: float | None = None
    volume: float | None = None
    market_cap: float | None = None
    # UNIX seconds at which the archive received the day; None if unknown. It does not count in comparisons.
    received_at: float | None = field(default=None, compare=False)

    @property
    def is_whole(self) -> bool:
        """Whether open, high and low of the day are known, and not only its close."""
        return self.open is not None and self.high is not None and self.low is not None


@dataclass(frozen=True, slots=True)
class HourlyCandle:
    """The candle of one closed hour; None means that no source gives a figure."""

    # UNIX seconds.
    start: int
    close: float
    open: float | None = None
    high: float | None = None
    low: float | None = None
    volume: float | None = None
    # UNIX seconds at which the archive received the hour; None if unknown. It does not count in comparisons.
    received_at: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class OhlcCandle:
    """One candle as CoinGecko's `ohlc` gives it; `closed_at` in UNIX seconds."""

    closed_at: float
    open: float
    high: float
    low: float
    close: float


@dataclass(frozen=True, slots=True)
class Quoted:
    """A quote and its provenance."""

    quote: Quote
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class Prices:
    """The prices of a request, and the coins that could not be served."""

    prices: Sequence[Quoted]
    failures: Sequence[ItemFailure] = ()


@dataclass(frozen=True, slots=True)
class Markets:
    """Rows of the market table, and the coins that could not be served."""

    markets: Sequence[Market]
    provenance: Provenance
    failures: Sequence[ItemFailure] = ()


@dataclass(frozen=True, slots=True)
class History:
    """Daily or hourly candles of one coin, oldest first; closed days or hours only."""

    id: str
    vs_currency: str
    candles: Sequence[Candle]
    provenance: Provenance
    truncated: bool = False
    truncated_reason: str = ""
    missing_days: Sequence[date] = ()
    # A number that changes whenever a stored candle of the coin changes; None for a history of a past moment.
    revision: int | None = 0
    completeness: Completeness = Completeness.WHOLE
    # Why older candles could not be fetched for now, and when a retry may return more.
    partial_reason: str = ""
    retry_after_seconds: float | None = None
    quality_notes: Sequence[str] = ()
    in_doubt: bool = False
    # Whether the candles come from a sparkline, whose points have no times, so that their hours are assumed.
    from_sparkline: bool = False
    # Whether the history is partial only because highs and lows of some days are still to be fetched.
    ranges_pending: bool = False
    # The hourly candles; None in a history of days.
    hours: Sequence[HourlyCandle] | None = None


@dataclass(slots=True)
class Quality:
    """Defects found in one coin's data; updated as data arrives."""

    id: str
    vs_currency: str
    missing_days: int = 0
    duplicate_points: int = 0
    quarantined_points: int = 0
    last_good_day: date | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of a backfill."""

    id: str
    coins_done: int
    coins_total: int
    candles_added: int
    failure: ItemFailure | None = None
    # Upstream calls left in this minute, and the estimated time until all coins are done.
    calls_left: int | None = None
    seconds_left: float | None = None


@dataclass(slots=True)
class RepairReport:
    """Findings and changes of a repair of one coin's archive; updated while the coin is repaired."""

    id: str
    vs_currency: str
    coins_done: int
    coins_total: int
    # Days and hours that contradict their neighbours and the spot price.
    implausible_days: Sequence[date] = ()
    implausible_hours: int = 0
    # Days whose high or low is implausible although the close may be right, and the outcomes for their
    # ranges.
    implausible_ranges: Sequence[date] = ()
    ranges_confirmed: int = 0
    ranges_put_aside: int = 0
    ranges_fetched: int = 0
    # Of the implausible days: those that the source confirmed, that were quarantined, and that were replaced.
    confirmed_days: int = 0
    days_put_aside: int = 0
    days_fetched: int = 0
    hours_fetched: int = 0
    failure: ItemFailure | None = None


Params = Mapping[str, str]
