"""Ports of the training service: sources of daily and hourly history."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from coincast_modelkit.candles import Panel
from coincast_modelkit.hourly.candles import HourlyPanel


@dataclass(frozen=True, slots=True)
class History:
    """Candles of the coins that could be fetched; `problems` has a reason for each other coin."""

    panel: Panel
    source: str
    problems: dict[str, str] = field(default_factory=dict)


class HistorySource(Protocol):
    """A source of closed daily candles; it raises `Unavailable` or `Timeout` if it cannot be reached."""

    async def fetch(self, ids: Sequence[str], days: int) -> History:
        """Fetch the last `days` closed days of each coin; 0 means all days."""
        ...


@dataclass(frozen=True, slots=True)
class HourlyHistory:
    """Hourly candles of the coins that could be fetched; `problems` has a reason for each other coin."""

    panel: HourlyPanel
    source: str
    problems: Mapping[str, str] = field(default_factory=dict)


@runtime_checkable
class PastHoursSource(Protocol):
    """A source of hourly candles up to a daily close."""

    async def fetch_hours_until(self, ids: Sequence[str], days: int, day: dt.date) -> HourlyHistory:
        """Fetch the hours of the last `days` days up to the close of `day`; 0 means all hours.

        Hours after the close are not requested.
        """
        ...


@runtime_checkable
class FetchingSource(Protocol):
    """A source that says what it fetches."""

    async def fetching(self) -> str:
        """Return what is fetched now, in words; empty if that is nothing, or not known."""
        ...


class HourlyHistorySource(Protocol):
    """A source of closed hourly candles."""

    async def fetch_hourly(self, ids: Sequence[str], days: int) -> HourlyHistory:
        """Fetch the last `days` times 24 closed hours of each coin; 0 means all hours."""
        ...


class CandleSource(HistorySource, HourlyHistorySource, Protocol):
    """A source of closed daily and hourly candles."""
