"""What training needs from outside: daily and hourly history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from coincast_modelkit.candles import Panel
from coincast_modelkit.hourly.candles import HourlyPanel


@dataclass(frozen=True, slots=True)
class History:
    """The candles of the coins that could be had, and why the others could not."""

    panel: Panel
    source: str
    problems: dict[str, str] = field(default_factory=dict)


class HistorySource(Protocol):
    """Gives closed daily candles. Raises `Unavailable` or `Timeout` where it stays out of reach."""

    async def fetch(self, ids: Sequence[str], days: int) -> History:
        """The last `days` closed days of each coin; 0 for all there are."""
        ...


@dataclass(frozen=True, slots=True)
class HourlyHistory:
    """The hourly candles of the coins that could be had, and why the others could not."""

    panel: HourlyPanel
    source: str
    problems: Mapping[str, str] = field(default_factory=dict)


class HourlyHistorySource(Protocol):
    """Gives closed hourly candles."""

    async def fetch_hourly(self, ids: Sequence[str], days: int) -> HourlyHistory:
        """Fetch the last `days` times 24 closed hours of each coin; 0 for all there are."""
        ...
