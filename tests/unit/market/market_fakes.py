"""Fakes of the service's ports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from coincast_chassis.errors import CoincastError
from coincast_market_data.history.candle_builder import DAY_SECONDS, midnight
from coincast_market_data.identifiers import Pair
from coincast_market_data.ports import UpstreamReply, UpstreamRequest

HOURLY_DAYS = 90


class FakeCharts:
    """CoinGecko's `market_chart` of one coin whose price on day n of its life is 100 + n all day long."""

    def __init__(self, now: Callable[[], float], born: float, *, reach_days: int = 36_500) -> None:
        self.now, self.born, self.reach_days = now, born, reach_days
        self.requests: list[UpstreamRequest] = []
        self.error: CoincastError | None = None
        self.fail_after: int | None = None

    async def fetch(self, request: UpstreamRequest) -> UpstreamReply:
        self.requests.append(request)
        if self.error and (self.fail_after is None or len(self.requests) > self.fail_after):
            raise self.error
        query = dict(request.query)
        now = self.now()
        if request.path.endswith("range"):
            start, end = float(query["from"]), min(float(query["to"]), now)
        else:
            start, end = now - int(query["days"]) * DAY_SECONDS, now
        step = 3600 if (end - start) / DAY_SECONDS <= HOURLY_DAYS else DAY_SECONDS
        first = max(start, self.born, now - self.reach_days * DAY_SECONDS)
        times = range(int(-(-first // step) * step), int(end) + 1, step)
        rows = [(t * 1000, self.price(t)) for t in times]
        document = {name: [list(row) for row in rows] for name in ("prices", "market_caps", "total_volumes")}
        return UpstreamReply(document, b"", received_at=now, as_of=now, seconds=0.01)

    def price(self, moment: float) -> float:
        return 100.0 + (moment - 1 - midnight_of(self.born)) // DAY_SECONDS


class NoArchive:
    """Nothing is kept."""

    async def last_closes(self, pairs: Iterable[Pair]) -> Mapping[Pair, tuple[date, float]]:
        del pairs
        return {}


def midnight_of(moment: float) -> float:
    return moment // DAY_SECONDS * DAY_SECONDS


class FakeDirectory:
    """A list of coins that was never loaded: no id is known or unknown, and every currency passes."""

    def __init__(self, hints: Sequence[str] = ()) -> None:
        self.hints = hints
        self.suggested: list[str] = []

    def is_certainly_known(self, coin: str) -> bool:
        del coin
        return False

    def is_certainly_unknown(self, coin: str) -> bool:
        del coin
        return False

    async def suggest(self, coin: str) -> Sequence[str]:
        self.suggested.append(coin)
        return self.hints

    def check_currency(self, code: str, field: str) -> None:
        """Accept every currency."""

    async def quoted(self, codes: Sequence[str]) -> Sequence[str]:
        return codes


__all__ = ["Any", "FakeCharts", "FakeDirectory", "NoArchive", "midnight"]
