"""Daily candles of one coin, the input of all daily features and models."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Dates = npt.NDArray[np.datetime64]

FIELDS = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True, slots=True, eq=False)
class Candles:
    """One coin's closed UTC days, oldest first; every array has shape (n,).

    dates are datetime64[D], strictly increasing. open, high, low and close are prices in one currency; volume
    is the day's turnover in that currency. NaN means absent (free plans give no high, low or volume); every
    close is present.

    Raises:
        ValueError: Shapes differ, dates do not increase, or a close is not positive.
    """

    coin_id: str
    dates: Dates
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats

    def __post_init__(self) -> None:
        object.__setattr__(self, "dates", np.asarray(self.dates, dtype="datetime64[D]"))
        for field in FIELDS:
            values = np.ascontiguousarray(getattr(self, field), dtype=np.float64)
            if values.shape != self.dates.shape:
                raise ValueError(f"{self.coin_id}: {field} has {values.shape}, dates {self.dates.shape}")
            object.__setattr__(self, field, values)
        if np.any(np.diff(self.dates) <= np.timedelta64(0, "D")):
            raise ValueError(f"{self.coin_id}: dates must strictly increase")
        if not (np.all(np.isfinite(self.close)) and np.all(self.close > 0)):
            raise ValueError(f"{self.coin_id}: every close must be finite and above zero")

    @classmethod
    def of(
        cls,
        coin_id: str,
        dates: Sequence[dt.date] | Dates,
        close: Sequence[float] | Floats,
        *,
        open: Sequence[float] | Floats | None = None,
        high: Sequence[float] | Floats | None = None,
        low: Sequence[float] | Floats | None = None,
        volume: Sequence[float] | Floats | None = None,
    ) -> Self:
        """Return candles from sequences of equal length.

        Args:
            coin_id: The coin's id.
            dates: Days, increasing.
            close: Closes, positive.
            open: Opens; NaN throughout if not given. The same holds for high, low and volume.
            high: Highest prices.
            low: Lowest prices.
            volume: Volumes in the currency of the prices.
        """
        days = np.asarray(dates, dtype="datetime64[D]")
        absent = np.full(len(days), np.nan)
        rest = {"open": open, "high": high, "low": low, "volume": volume}
        arrays = {k: absent if v is None else np.asarray(v, dtype=np.float64) for k, v in rest.items()}
        return cls(coin_id=coin_id, dates=days, close=np.asarray(close, dtype=np.float64), **arrays)

    def __len__(self) -> int:
        return len(self.dates)

    @property
    def as_of(self) -> dt.date:
        """Return the last closed day. Raises ValueError without candles."""
        if not len(self):
            raise ValueError(f"{self.coin_id}: no candles")
        day: dt.date = self.dates[-1].astype(object)
        return day

    @property
    def last_price(self) -> float:
        """Return the last close."""
        return float(self.close[-1])

    def rows(self, start: int, stop: int) -> Self:
        """Return the candles of rows start to stop (exclusive)."""
        cut = slice(start, stop)
        # The checks of the constructor hold for every slice, and would take most of the time.
        found = object.__new__(type(self))
        object.__setattr__(found, "coin_id", self.coin_id)
        object.__setattr__(found, "dates", self.dates[cut])
        for field in FIELDS:
            object.__setattr__(found, field, getattr(self, field)[cut])
        return found

    def tail(self, days: int) -> Self:
        """Return the last `days` rows, or all rows if there are fewer."""
        return self.rows(max(0, len(self) - days), len(self))

    def until(self, day: dt.date | np.datetime64) -> Self:
        """Return the candles up to and including a day."""
        return self.rows(
            0, int(np.searchsorted(self.dates, np.asarray(day, dtype="datetime64[D]"), side="right"))
        )

    def on_every_day(self) -> Self:
        """Return the candles on a calendar without gaps.

        An absent day repeats the last close and has NaN in the other fields. Models count rows as days, so a
        gap would stretch their horizons.
        """
        if not len(self) or int((self.dates[-1] - self.dates[0]).astype(int)) + 1 == len(self):
            return self
        days = np.arange(self.dates[0], self.dates[-1] + np.timedelta64(1, "D"))
        at = np.searchsorted(self.dates, days, side="right") - 1
        known = self.dates[at] == days
        gaps = {f: np.where(known, getattr(self, f)[at], np.nan) for f in FIELDS if f != "close"}
        return type(self)(self.coin_id, days, close=self.close[at], **gaps)


Panel = Mapping[str, Candles]
