"""Domain types of market data: quotes, coins, candles and the provenance of each figure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

from coincast_chassis.errors import CoincastError


class Completeness(StrEnum):
    """Whether a history is all that its source has."""

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
    """One coin in one currency; None is a figure that the upstream does not give."""

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
    # The error itself, where there was one; it carries CoinGecko's own reply.
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
    """One closed UTC day. `close` is the last price of the day; None is a figure no source gives."""

    day: date
    close: float
    open: float | None = None
    high: float | None = None
    low: float | None = None
    volume: float | None = None
    market_cap: float | None = None
    # When the archive got the day, UNIX seconds; None where that is not known. No figure of the candle.
    received_at: float | None = field(default=None, compare=False)

    @property
    def is_whole(self) -> bool:
        """Whether the day's range is known and not only its close."""
        return self.open is not None and self.high is not None and self.low is not None


@dataclass(frozen=True, slots=True)
class HourlyCandle:
    """One closed hour; `start` in UNIX seconds, None is a figure that no source gives."""

    start: int
    close: float
    open: float | None = None
    high: float | None = None
    low: float | None = None
    volume: float | None = None
    # When the archive got the hour, UNIX seconds; None where that is not known. No figure of the candle.
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
    """The answer to a question for prices."""

    prices: Sequence[Quoted]
    failures: Sequence[ItemFailure] = ()


@dataclass(frozen=True, slots=True)
class Markets:
    """The answer to a question for the market table."""

    markets: Sequence[Market]
    provenance: Provenance
    failures: Sequence[ItemFailure] = ()


@dataclass(frozen=True, slots=True)
class History:
    """Daily candles of one coin, oldest first, one a closed UTC day."""

    id: str
    vs_currency: str
    candles: Sequence[Candle]
    provenance: Provenance
    truncated: bool = False
    truncated_reason: str = ""
    missing_days: Sequence[date] = ()
    # Another number whenever a candle of this coin is another; None in a history of a past moment.
    revision: int | None = 0
    completeness: Completeness = Completeness.WHOLE
    # Why more could not be fetched for now, and when asking again may give more.
    partial_reason: str = ""
    retry_after_seconds: float | None = None
    quality_notes: Sequence[str] = ()
    in_doubt: bool = False
    # Whether the candles are those of a sparkline, whose hours are assumed.
    from_sparkline: bool = False
    # Partial only in that highs and lows of some days are to come.
    ranges_pending: bool = False
    # None in a history of days.
    hours: Sequence[HourlyCandle] | None = None


@dataclass(slots=True)
class Quality:
    """Faults found in one coin's data; grows as data arrives."""

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
    """What a repair found and changed in one coin's archive; grows while the coin is repaired."""

    id: str
    vs_currency: str
    coins_done: int
    coins_total: int
    # Days and hours that neither their neighbours nor the spot price support.
    implausible_days: Sequence[date] = ()
    implausible_hours: int = 0
    # Days whose high or low is false although the close may be true; what became of their ranges.
    implausible_ranges: Sequence[date] = ()
    ranges_confirmed: int = 0
    ranges_put_aside: int = 0
    ranges_fetched: int = 0
    # Of the implausible days: those repeated by the source, those quarantined, those fetched in their place.
    confirmed_days: int = 0
    days_put_aside: int = 0
    days_fetched: int = 0
    hours_fetched: int = 0
    failure: ItemFailure | None = None


Params = Mapping[str, str]
