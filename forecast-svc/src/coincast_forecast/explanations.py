"""The most telling features of a forecast, on request; kept for as long as the forecast is."""

import asyncio
from collections.abc import Iterable

from coincast_forecast.climb import Answered
from coincast_forecast.domain import Attribution
from coincast_forecast.lru import Lru
from coincast_forecast.predictor import Row

Key = tuple[Row, int, int]


class Explanations:
    """Attributions by forecast, horizon and number of features."""

    def __init__(self, keep: int, limit_seconds: float) -> None:
        self._kept: Lru[Key, tuple[Attribution, ...]] = Lru(keep)
        self._limit_seconds = limit_seconds

    async def of(
        self, answers: Iterable[Answered], days: int, top: int
    ) -> dict[str, tuple[Attribution, ...]]:
        """Each coin's attributions at the longest day asked; none for a coin whose model cannot say in
        time.
        """
        found: dict[str, tuple[Attribution, ...]] = {}
        try:
            async with asyncio.timeout(self._limit_seconds):
                for answered in answers:
                    found[answered.row.prepared.coin_id] = await self._one(answered, days, top)
        except TimeoutError:
            pass
        return found

    async def _one(self, answered: Answered, days: int, top: int) -> tuple[Attribution, ...]:
        key = (answered.row, days, top)
        kept = self._kept.get(key)
        if kept is not None or answered.version is None:
            return kept or ()
        told = await answered.version.predictor.explain(answered.row.prepared, days, top)
        self._kept.put(key, told)
        return told
