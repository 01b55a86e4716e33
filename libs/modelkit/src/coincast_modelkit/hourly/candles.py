"""Hourly candles of one coin on a grid without gaps: one row per hour."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt

from coincast_modelkit.candles import FIELDS, Candles, Floats

Hours = npt.NDArray[np.datetime64]
HOURS_A_DAY = 24
# A day with fewer known hours has a close, but no range and no measures from its hours.
MIN_HOURS_A_DAY = 20
# The sources of an hour's variance: its high and low, or closes alone. RANGES is used for a coin if at least
# RANGE_SHARE of the hours of the last day have a high and a low.
RANGES, CLOSES = "ranges", "closes"
RANGE_SHARE = 0.8
HOUR = np.timedelta64(1, "h")
EPOCH = np.datetime64("1970-01-01T00", "h")


def as_hour(moment: dt.datetime | np.datetime64) -> np.datetime64:
    """Return the full hour at or before a moment (UTC; a datetime may be aware or naive)."""
    if isinstance(moment, dt.datetime) and moment.tzinfo is not None:
        moment = moment.astimezone(dt.UTC).replace(tzinfo=None)
    return np.asarray([moment], dtype="datetime64[s]").astype("datetime64[h]")[0]  # type: ignore[no-any-return]


@dataclass(frozen=True, eq=False)
class HourlyCandles:
    """One coin's closed UTC hours, oldest first, one row per hour; arrays have shape (n,).

    `first` is the start of the oldest hour (datetime64[h]); the close of the row that starts at 23:00 is the
    daily close. open, high, low and close are prices in one currency; volume is the hour's turnover in that
    currency. A missing hour is a row of NaN. The first and the last row are present.

    Raises:
        ValueError: Shapes differ, a close is not above zero, or the first or last hour is missing.
    """

    coin_id: str
    first: np.datetime64
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats

    def __post_init__(self) -> None:
        object.__setattr__(self, "first", as_hour(self.first))
        for field in FIELDS:
            values = np.ascontiguousarray(getattr(self, field), dtype=np.float64)
            if values.shape != np.shape(self.close) or values.ndim != 1:
                raise ValueError(
                    f"{self.coin_id}: {field} has shape {values.shape}, close {self.close.shape}"
                )
            object.__setattr__(self, field, values)
        known = np.isfinite(self.close)
        if np.any(self.close[known] <= 0) or np.any(np.isinf(self.close)):
            raise ValueError(f"{self.coin_id}: every close must be finite and above zero")
        if len(known) and not (known[0] and known[-1]):
            raise ValueError(f"{self.coin_id}: the first and the last hour must have a close")

    @classmethod
    def of(
        cls,
        coin_id: str,
        starts: Sequence[dt.datetime] | Hours,
        close: Sequence[float] | Floats,
        *,
        open: Sequence[float] | Floats | None = None,
        high: Sequence[float] | Floats | None = None,
        low: Sequence[float] | Floats | None = None,
        volume: Sequence[float] | Floats | None = None,
    ) -> Self:
        """Return candles on the hourly grid from rows with gaps.

        An hour without volume whose four prices are equal becomes a missing hour: the source had no data and
        repeated the last price.

        Args:
            coin_id: The coin.
            starts: UTC start of each hour, strictly increasing, on the full hour.
            close: Last price of each hour.
            open: First price; NaN throughout if not given. The same holds for high, low and volume.
            high: Highest price.
            low: Lowest price.
            volume: Turnover in the prices' currency.

        Raises:
            ValueError: Lengths differ, a start is not a full hour, or starts do not increase.
        """
        stamps = np.asarray(starts, dtype="datetime64[s]")
        hours = stamps.astype("datetime64[h]")
        if np.any(hours != stamps):
            raise ValueError(f"{coin_id}: every start must be a full UTC hour")
        if np.any(np.diff(hours) <= np.timedelta64(0, "h")):
            raise ValueError(f"{coin_id}: hours must strictly increase")
        given = {"open": open, "high": high, "low": low, "close": close, "volume": volume}
        rows: dict[str, Floats] = {}
        for field, values in given.items():
            rows[field] = np.full(len(hours), np.nan) if values is None else np.asarray(values, np.float64)
            if rows[field].shape != hours.shape:
                raise ValueError(f"{coin_id}: {field} has {len(rows[field])} rows, starts {len(hours)}")
        keep = np.isfinite(rows["close"]) & ~_is_fill_in(rows)
        hours = hours[keep]
        if not len(hours):
            none = np.empty(0)
            return cls(coin_id=coin_id, first=EPOCH, open=none, high=none, low=none, close=none, volume=none)
        at = (hours - hours[0]).astype(np.int64)
        grid = {field: np.full(int(at[-1]) + 1, np.nan) for field in FIELDS}
        for field in FIELDS:
            grid[field][at] = rows[field][keep]
        return cls(coin_id, hours[0], **grid)

    def __len__(self) -> int:
        return len(self.close)

    @property
    def starts(self) -> Hours:
        """Return the start of every row, datetime64[h]."""
        return np.asarray(self.first + np.arange(len(self)).astype("timedelta64[h]"))

    @property
    def closes_at(self) -> np.datetime64:
        """Return when the newest hour closed (datetime64[h]). Raises ValueError without any hour."""
        if not len(self):
            raise ValueError(f"{self.coin_id}: no hourly candles")
        return as_hour(self.first + np.timedelta64(len(self), "h"))

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """Return which hours are present, (n,)."""
        return np.isfinite(self.close)

    @cached_property
    def log_close(self) -> Floats:
        """Return the log of the last known close at the end of every hour, (n,)."""
        known = self.known
        at = np.maximum.accumulate(np.where(known, np.arange(len(self)), 0))
        return np.asarray(np.log(self.close[at])) if len(self) else np.empty(0)

    @property
    def last_price(self) -> float:
        """Return the newest close."""
        return float(self.close[-1])

    def until(self, moment: dt.datetime | np.datetime64) -> Self:
        """Return the hours that had closed by a moment (UTC)."""
        closed = as_hour(moment) - self.first
        return self._rows(0, max(0, min(len(self), int(closed.astype(np.int64)))))

    def tail(self, hours: int) -> Self:
        """Return the last `hours` rows, or all rows if there are fewer."""
        return self._rows(max(0, len(self) - hours), len(self))

    def closes_only(self) -> Self:
        """Return the hours without open, high and low, like those of a source that gives closes only."""
        nothing = np.full(len(self), np.nan)
        return replace(self, open=nothing, high=nothing, low=nothing)

    def _rows(self, start: int, stop: int) -> Self:
        known = np.flatnonzero(self.known[start:stop])
        if not len(known):
            none = np.empty(0)
            return type(self)(
                coin_id=self.coin_id, first=EPOCH, open=none, high=none, low=none, close=none, volume=none
            )
        cut = slice(start + int(known[0]), start + int(known[-1]) + 1)
        first = self.first + np.timedelta64(cut.start, "h")
        return type(self)(self.coin_id, first, *(getattr(self, f)[cut] for f in FIELDS))

    def daily(self) -> Candles:
        """Return the daily candles of the same hours, for UTC days with at least one known hour.

        A day with fewer than MIN_HOURS_A_DAY known hours has only a close. The first and the last day are
        left out if the hours do not cover them from start to end.
        """
        lead = int((self.first - self.first.astype("datetime64[D]")).astype(np.int64))
        skip = (HOURS_A_DAY - lead) % HOURS_A_DAY
        days = max(0, (len(self) - skip) // HOURS_A_DAY)
        table = {f: getattr(self, f)[skip : skip + days * HOURS_A_DAY].reshape(days, -1) for f in FIELDS}
        known = np.isfinite(table["close"])
        some = known.any(axis=1)
        table, known = {f: v[some] for f, v in table.items()}, known[some]
        rows = np.arange(len(known))
        begin = known.argmax(axis=1)
        end = HOURS_A_DAY - 1 - known[:, ::-1].argmax(axis=1)
        whole = known.sum(axis=1) >= MIN_HOURS_A_DAY
        first_day = (self.first + np.timedelta64(skip, "h")).astype("datetime64[D]")
        day = first_day + np.flatnonzero(some).astype("timedelta64[D]")
        high = np.where(known, table["high"], -np.inf).max(axis=1, initial=-np.inf)
        low = np.where(known, table["low"], np.inf).min(axis=1, initial=np.inf)
        volume = np.where(known, table["volume"], 0.0).sum(axis=1)
        return Candles(
            self.coin_id,
            day,
            open=np.where(whole, table["open"][rows, begin], np.nan),
            high=np.where(whole, high, np.nan),
            low=np.where(whole, low, np.nan),
            close=table["close"][rows, end],
            volume=np.where(whole, volume, np.nan),
        )


HourlyPanel = Mapping[str, HourlyCandles]


def source_of(candles: HourlyCandles) -> str:
    """Return RANGES if most of the last day's hours have a high and a low, else CLOSES."""
    last = slice(-HOURS_A_DAY, None)
    ranged = np.isfinite(candles.high[last]) & np.isfinite(candles.low[last])
    return RANGES if ranged.sum() >= RANGE_SHARE * candles.known[last].sum() else CLOSES


def _is_fill_in(rows: Mapping[str, Floats]) -> npt.NDArray[np.bool_]:
    """Return which rows repeat the last price without a trade: booleans (n,)."""
    flat = (rows["high"] == rows["low"]) & (rows["open"] == rows["close"]) & (rows["high"] == rows["close"])
    return np.asarray(flat & (rows["volume"] == 0))


def hours_until(hours: HourlyPanel, day: np.datetime64) -> HourlyPanel:
    """Return the hours up to the close of a UTC day; coins without any are left out."""
    known = {coin_id: candles.until(day + np.timedelta64(1, "D")) for coin_id, candles in hours.items()}
    return {coin_id: candles for coin_id, candles in known.items() if len(candles)}
