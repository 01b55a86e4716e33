"""What nobody is shown, forecast off the request's path for the ledger alone.

A shadow version forecasts what production forecasts. While a challenger runs, so does the side of the test
that did not answer: a paired comparison needs both forecasts of the same coin and day, whoever was shown
which.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from coincast_chassis.observability.logs import get_logger
from coincast_forecast.climb import Answered
from coincast_forecast.domain import CHALLENGER, PRODUCTION, SHADOW
from coincast_forecast.identity import forecast_id
from coincast_forecast.lineup import Lineup, LiveVersion, Snapshot
from coincast_forecast.lru import Lru
from coincast_forecast.metrics import Metrics
from coincast_forecast.predictor import Row
from coincast_forecast.preparation import Preparation
from coincast_forecast.recorder import Recorder, Shown
from coincast_modelkit.model_input import ModelInput

log = get_logger("coincast.forecast.shadows")


@dataclass(frozen=True, slots=True, eq=False)
class _Cast:
    version: LiveVersion
    variant: str
    answered: Answered
    vs_currency: str
    days: int

    @property
    def key(self) -> tuple[str, ...]:
        """What is forecast, by name: it holds on to no version and no forecast."""
        prepared = self.answered.row.prepared
        version = self.version
        return version.model, version.version, prepared.coin_id, self.vs_currency, prepared.as_of.isoformat()


class Shadows:
    """A bounded queue and the one task that works it off; what does not fit is dropped and counted."""

    def __init__(
        self, preparation: Preparation, recorder: Recorder, metrics: Metrics, *, queue_coins: int
    ) -> None:
        self._preparation = preparation
        self._recorder = recorder
        self._metrics = metrics
        self._queue: asyncio.Queue[_Cast] = asyncio.Queue(queue_coins)
        self._done: Lru[tuple[str, ...], int] = Lru(10_000)
        self._working = False

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is being computed."""
        return self._queue.empty() and not self._working

    def cast(self, snapshot: Snapshot, vs_currency: str, days: int, answers: Iterable[Answered]) -> None:
        """Queue what is to be forecast beside each answer; never waits."""
        for answered in answers:
            lineup = snapshot.get(answered.served_by)
            for version, variant in _beside(lineup, answered) if lineup is not None else ():
                cast = _Cast(version, variant, answered, vs_currency, days)
                if (self._done.get(cast.key) or 0) < days:
                    self._enqueue(cast)

    async def work(self) -> None:
        """Forecast and record for ever; nothing that fails here may end it."""
        while True:
            cast = await self._queue.get()
            self._working = True
            try:
                await self._one(cast)
            except Exception:
                log.exception("a shadow failed", model=cast.version.model, version=cast.version.version)
            self._working = False

    def _enqueue(self, cast: _Cast) -> None:
        try:
            self._queue.put_nowait(cast)
        except asyncio.QueueFull:
            self._metrics.shadow_dropped()
        else:
            self._done.put(cast.key, cast.days)

    async def _one(self, cast: _Cast) -> None:
        predictor = cast.version.predictor
        candles = cast.answered.candles
        prepared = await self._preparation.prepare([candles], cast.vs_currency, predictor.model.spec)
        ready = prepared[candles.coin_id]
        if not isinstance(ready, ModelInput):
            return
        outcome = (await predictor.rows(cast.vs_currency, [ready]))[ready.coin_id]
        if isinstance(outcome, Row):
            await self._recorder.record([_shown(cast, outcome)])


def _beside(lineup: Lineup, answered: Answered) -> list[tuple[LiveVersion, str]]:
    """The versions that forecast along with an answer, and the part each plays."""
    others = [(lineup.shadow, SHADOW)]
    if lineup.challenger is not None and lineup.challenger_share > 0:
        others += [(lineup.production, PRODUCTION), (lineup.challenger, CHALLENGER)]
    return [(v, variant) for v, variant in others if v is not None and v is not answered.version]


def _shown(cast: _Cast, row: Row) -> Shown:
    model, version, variant = cast.version.model, cast.version.version, cast.variant
    identity = forecast_id(
        row, vs_currency=cast.vs_currency, model=model, version=version, variant=variant, served_by=model
    )
    days = min(cast.days, cast.version.predictor.model.max_horizon_days)
    return Shown(identity, row, cast.vs_currency, model, version, variant, model, days, shadow=True)
