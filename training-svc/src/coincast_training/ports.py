"""What training needs from outside: daily history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from coincast_modelkit.candles import Panel


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
