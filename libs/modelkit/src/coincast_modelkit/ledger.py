"""The forecast log: serving writes an entry per forecast, and training scores it when it is due.

Risk statements (`scenarios.statements`) are written to the same log, and go to a stream of their own.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

# The Redis stream to which serving appends and from which training reads: one message per entry, with the
# JSON in one field. A message may arrive twice: forecast_id, horizon_days and horizon_hours identify the
# entry.
STREAM_KEY = "coincast:ledger:forecasts"
STREAM_FIELD = "entry"
# The stream of risk statements. A message may arrive twice: statement_id and first_day identify a statement.
RISK_STREAM_KEY = "coincast:ledger:risk"
# Every line of a risk statement begins with this; the prefix distinguishes it from a forecast's in a shared
# spool.
RISK_LINE_PREFIX = '{"statement":'
HOURS_A_DAY = 24
# Longer horizons, and days outside of these years, are no forecasts of this service.
MAX_HORIZON = 100_000
FIRST_YEAR, LAST_YEAR = 2000, 2200


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One forecast of one coin at one horizon.

    made_at is UNIX seconds. as_of is an ISO date, the last day that had closed. Prices are in vs_currency;
    price_quantiles are those at probabilities. variant is the alias of the version that forecast. served_by
    is the name of the model, or last_price. A shadow forecast was recorded but not served.

    An hourly forecast has horizon_hours and no horizon_days. as_of_hours is the number of hours, 0 to 23,
    from the close of as_of to the hour that the forecast starts from. A daily horizon always ends at the
    close of the day as_of + horizon_days, whatever as_of_hours is.
    """

    forecast_id: str
    made_at: float
    coin_id: str
    vs_currency: str
    as_of: str
    model: str
    version: str
    variant: str
    served_by: str
    horizon_days: int
    last_price: float
    probabilities: tuple[float, ...]
    price_quantiles: tuple[float, ...]
    shadow: bool = False
    horizon_hours: int = 0
    as_of_hours: int = 0

    def __post_init__(self) -> None:
        check_texts(self, ("forecast_id", "coin_id", "vs_currency", "as_of"))
        check_texts(self, ("model", "version", "variant", "served_by"), empty=True)
        check_whole(self, ("horizon_days", "horizon_hours", "as_of_hours"), most=MAX_HORIZON)
        check_day(self.as_of)
        for name in ("made_at", "last_price"):
            object.__setattr__(self, name, float(getattr(self, name)))
        object.__setattr__(self, "probabilities", tuple(float(p) for p in self.probabilities))
        object.__setattr__(self, "price_quantiles", tuple(float(q) for q in self.price_quantiles))
        if len(self.probabilities) != len(self.price_quantiles):
            raise ValueError("a ledger entry needs as many price_quantiles as probabilities")
        if not all(math.isfinite(x) for x in (self.made_at, self.last_price, *self.price_quantiles)):
            raise ValueError("a ledger entry holds finite numbers only")
        if not self.probabilities or not all(0 <= p <= 1 for p in self.probabilities):
            raise ValueError("a ledger entry needs probabilities from 0 to 1, at least one")
        if self.last_price <= 0:
            raise ValueError("last_price of a ledger entry must be above 0")
        if (self.horizon_days > 0) == (self.horizon_hours > 0):
            raise ValueError("a ledger entry needs either horizon_days or horizon_hours, above zero")
        if not 0 <= self.as_of_hours < HOURS_A_DAY:
            raise ValueError("as_of_hours of a ledger entry must be 0 to 23")

    @property
    def starts_at(self) -> dt.datetime:
        """Return the time (UTC) that the forecast starts from.

        Raises:
            ValueError: as_of is no ISO date.
        """
        return close_of(self.as_of) + dt.timedelta(hours=self.as_of_hours)

    @property
    def due_at(self) -> dt.datetime:
        """Return the time (UTC) whose price was forecast.

        Raises:
            ValueError: as_of is no ISO date.
        """
        if self.horizon_hours:
            return self.starts_at + dt.timedelta(hours=self.horizon_hours)
        return close_of(self.as_of) + dt.timedelta(days=self.horizon_days)

    @property
    def due(self) -> str:
        """Return the ISO date of the UTC day of due_at; midnight belongs to the day that ends then.

        Raises:
            ValueError: as_of is no ISO date.
        """
        return (self.due_at - dt.timedelta(microseconds=1)).date().isoformat()

    def to_json(self) -> str:
        """Return one line of strict JSON."""
        return json.dumps(asdict(self), separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, line: str | bytes) -> Self:
        """Parse a line of to_json; unknown fields, which later versions may add, are ignored.

        Raises:
            ValueError: A field is absent.
        """
        raw = json_of(line)
        if not isinstance(raw, dict):
            raise ValueError("a ledger entry is a JSON object")  # noqa: TRY004 - bad data, not a bad call
        known = {f.name for f in fields(cls)}
        try:
            return cls(**{k: v for k, v in raw.items() if k in known})
        except TypeError as error:
            raise ValueError(f"a ledger entry is not whole: {error}") from error


def stream_key_of(line: str) -> str:
    """Return the key of the stream for a line: that of risk statements or that of forecasts."""
    return RISK_STREAM_KEY if line.startswith(RISK_LINE_PREFIX) else STREAM_KEY


def json_of(line: str | bytes) -> Any:
    """Parse JSON. Raises ValueError, also for JSON that is nested too deeply."""
    try:
        return json.loads(line)
    except RecursionError as error:
        raise ValueError("JSON that is nested too deeply") from error


def check_texts(entry: object, names: Sequence[str], *, empty: bool = False) -> None:
    """Raise ValueError for a field that is no text, or that is empty although it must not be."""
    for name in names:
        value = getattr(entry, name)
        if not isinstance(value, str) or not (value or empty):
            raise ValueError(f"{name} must be a text, got {value!r:.50}")


def check_whole(entry: object, names: Sequence[str], *, most: int) -> None:
    """Raise ValueError for a field that is no whole number from 0 to `most`."""
    for name in names:
        value = getattr(entry, name)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
            raise ValueError(f"{name} must be a whole number from 0 to {most}, got {value!r:.50}")


def check_day(text: str) -> None:
    """Raise ValueError unless the text is an ISO date of a year that forecasts can have."""
    if not FIRST_YEAR <= dt.date.fromisoformat(text).year <= LAST_YEAR:
        raise ValueError(f"a day must lie in the years {FIRST_YEAR} to {LAST_YEAR}, got {text}")


def close_of(day: str) -> dt.datetime:
    """Return the time (UTC) at which the day of an ISO date closes.

    Raises:
        ValueError: It is no ISO date.
    """
    return dt.datetime.combine(dt.date.fromisoformat(day) + dt.timedelta(days=1), dt.time(), tzinfo=dt.UTC)
