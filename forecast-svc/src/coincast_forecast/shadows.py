"""Shadow versions forecast what production forecasts, off the request's path, for the ledger alone."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from coincast_forecast.climb import Answered
from coincast_forecast.domain import SHADOW
from coincast_forecast.identity import forecast_id
from coincast_forecast.lineup import LiveVersion, Snapshot
from coincast_forecast.lru import Lru
from coincast_forecast.metrics import Metrics
from coincast_forecast.predictor import Row
from coincast_forecast.preparation import Preparation
from coincast_forecast.recorder import Recorder, Shown
from coincast_modelkit.prepared import Prepared

BATCH = 50


@dataclass(frozen=True, slots=True, eq=False)
class _Cast:
    version: LiveVersion
    answered: Answered
    vs_currency: str
    days: int


class Shadows:
    """A bounded queue and the one task that works it off; what does not fit is dropped and counted."""

    def __init__(
        self, preparation: Preparation, recorder: Recorder, metrics: Metrics, *, queue_coins: int
    ) -> None:
        self._preparation = preparation
        self._recorder = recorder
        self._metrics = metrics
        self._queue: asyncio.Queue[_Cast] = asyncio.Queue(queue_coins)
        self._done: Lru[tuple[LiveVersion, Row], int] = Lru(10_000)

    def cast(self, snapshot: Snapshot, vs_currency: str, days: int, answers: Iterable[Answered]) -> None:
        """Queue the shadows of what was answered by a model that has one; never waits."""
        for answered in answers:
            lineup = snapshot.get(answered.served_by)
            version = lineup.shadow if lineup is not None else None
            if version is None or (self._done.get((version, answered.row)) or 0) >= days:
                continue
            try:
                self._queue.put_nowait(_Cast(version, answered, vs_currency, days))
            except asyncio.QueueFull:
                self._metrics.shadow_dropped()
                continue
            self._done.put((version, answered.row), days)

    async def work(self) -> None:
        """Forecast and record shadows for ever."""
        while True:
            batch = [await self._queue.get()]
            while len(batch) < BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            for cast in batch:
                await self._one(cast)

    async def _one(self, cast: _Cast) -> None:
        predictor = cast.version.predictor
        candles = cast.answered.row.prepared.candles
        prepared = await self._preparation.prepare([candles], cast.vs_currency, predictor.model.spec)
        ready = prepared[candles.coin_id]
        if not isinstance(ready, Prepared):
            return
        outcome = (await predictor.rows(cast.vs_currency, [ready]))[ready.coin_id]
        if isinstance(outcome, Row):
            await self._recorder.record([_shown(cast, outcome)])


def _shown(cast: _Cast, row: Row) -> Shown:
    model, version = cast.version.model, cast.version.version
    identity = forecast_id(
        row, vs_currency=cast.vs_currency, model=model, version=version, variant=SHADOW, served_by=model
    )
    days = min(cast.days, cast.version.predictor.model.max_horizon_days)
    return Shown(identity, row, cast.vs_currency, model, version, SHADOW, model, days, shadow=True)
