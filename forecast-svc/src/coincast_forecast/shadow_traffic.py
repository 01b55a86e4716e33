"""What nobody is shown, forecast off the request's path for the ledger alone.

A shadow version forecasts what production forecasts. While a challenger runs, so does the side of the test
that did not answer: a paired comparison needs both forecasts of the same coin and day, whoever was shown
which.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from coincast_chassis.observability.logs import get_logger
from coincast_forecast.domain import CHALLENGER, PRODUCTION, SHADOW
from coincast_forecast.fallback.executor import Prediction
from coincast_forecast.features.cache import FeatureCache
from coincast_forecast.forecast_id import forecast_id
from coincast_forecast.inference.predictor import PredictionRef
from coincast_forecast.lru import Lru
from coincast_forecast.metrics import Metrics
from coincast_forecast.prediction_log.recorder import LogRecord, Recorder
from coincast_forecast.registry.deployment import Deployment, LiveVersion, Snapshot
from coincast_modelkit.model_input import ModelInput

log = get_logger("coincast.forecast.shadows")


@dataclass(frozen=True, slots=True, eq=False)
class ShadowTask:
    """One forecast to compute for the log alone."""

    version: LiveVersion
    variant: str
    answered: Prediction
    vs_currency: str
    days: int

    @property
    def key(self) -> tuple[str, ...]:
        """What is forecast, by name: it holds on to no version and no forecast."""
        prepared = self.answered.row.prepared
        version = self.version
        return version.model, version.version, prepared.coin_id, self.vs_currency, prepared.as_of.isoformat()


class ShadowTraffic:
    """A bounded queue and the one task that works it off; what does not fit is dropped and counted."""

    def __init__(
        self, preparation: FeatureCache, recorder: Recorder, metrics: Metrics, *, queue_coins: int
    ) -> None:
        self._preparation = preparation
        self._recorder = recorder
        self._metrics = metrics
        self._queue: asyncio.Queue[ShadowTask] = asyncio.Queue(queue_coins)
        self._done: Lru[tuple[str, ...], int] = Lru(10_000)
        self._working = False

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is being computed."""
        return self._queue.empty() and not self._working

    def submit(self, snapshot: Snapshot, vs_currency: str, days: int, answers: Iterable[Prediction]) -> None:
        """Queue what is to be forecast beside each answer; never waits."""
        for answered in answers:
            lineup = snapshot.get(answered.served_by)
            for version, variant in _beside(lineup, answered) if lineup is not None else ():
                submit = ShadowTask(version, variant, answered, vs_currency, days)
                if (self._done.get(submit.key) or 0) < days:
                    self._enqueue(submit)

    async def work(self) -> None:
        """Forecast and record for ever; nothing that fails here may end it."""
        while True:
            submit = await self._queue.get()
            self._working = True
            try:
                await self._one(submit)
            except Exception:
                log.exception("a shadow failed", model=submit.version.model, version=submit.version.version)
            self._working = False

    def _enqueue(self, submit: ShadowTask) -> None:
        try:
            self._queue.put_nowait(submit)
        except asyncio.QueueFull:
            self._metrics.shadow_dropped()
        else:
            self._done.put(submit.key, submit.days)

    async def _one(self, submit: ShadowTask) -> None:
        predictor = submit.version.predictor
        candles = submit.answered.candles
        prepared = await self._preparation.prepare([candles], submit.vs_currency, predictor.model.spec)
        ready = prepared[candles.coin_id]
        if not isinstance(ready, ModelInput):
            return
        outcome = (await predictor.rows(submit.vs_currency, [ready]))[ready.coin_id]
        if isinstance(outcome, PredictionRef):
            await self._recorder.record([_shown(submit, outcome)])


def _beside(lineup: Deployment, answered: Prediction) -> list[tuple[LiveVersion, str]]:
    """The versions that forecast along with an answer, and the part each plays."""
    others = [(lineup.shadow, SHADOW)]
    if lineup.challenger is not None and lineup.challenger_share > 0:
        others += [(lineup.production, PRODUCTION), (lineup.challenger, CHALLENGER)]
    return [(v, variant) for v, variant in others if v is not None and v is not answered.version]


def _shown(submit: ShadowTask, row: PredictionRef) -> LogRecord:
    model, version, variant = submit.version.model, submit.version.version, submit.variant
    identity = forecast_id(
        row, vs_currency=submit.vs_currency, model=model, version=version, variant=variant, served_by=model
    )
    days = min(submit.days, submit.version.predictor.model.max_horizon_days)
    return LogRecord(identity, row, submit.vs_currency, model, version, variant, model, days, shadow=True)
