"""Shadow predictions: computed off the request path and logged, never served.

A shadow version forecasts the same coins and days as production. During an A/B test, the variant that did not
answer forecasts them too: a paired comparison needs the forecasts of both for the same coin and day.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from coincast_chassis.observability.logs import get_logger
from coincast_chassis.resilience.bounded_cache import Lru
from coincast_forecast import metrics
from coincast_forecast.domain import CHALLENGER, PRODUCTION, SHADOW
from coincast_forecast.fallback.executor import Prediction
from coincast_forecast.features.cache import FeatureCache
from coincast_forecast.inference.predictor import PredictionRef
from coincast_forecast.prediction_log.recorder import Recorder
from coincast_forecast.registry.deployment import Deployment, LiveVersion, Snapshot
from coincast_modelkit.model_input import ModelInput

log = get_logger("coincast.forecast.shadow_traffic")


@dataclass(frozen=True, slots=True, eq=False)
class ShadowTask:
    """A shadow forecast to compute for a served one."""

    version: LiveVersion
    variant: str
    served: Prediction
    days: int

    @property
    def key(self) -> tuple[str, ...]:
        """Return strings that identify the forecast; they hold no references to the version or its arrays."""
        model_input, version = self.served.ref.prepared, self.version
        return (
            version.model,
            version.version,
            model_input.coin_id,
            self.served.vs_currency,
            model_input.as_of.isoformat(),
        )


class ShadowTraffic:
    """A bounded queue and one task that processes it; tasks beyond the limit are dropped and counted."""

    def __init__(self, features: FeatureCache, recorder: Recorder, *, queue_coins: int) -> None:
        self._features = features
        self._recorder = recorder
        self._queue: asyncio.Queue[ShadowTask] = asyncio.Queue(queue_coins)
        self._days_done: Lru[tuple[str, ...], int] = Lru(10_000)
        self._working = False

    @property
    def idle(self) -> bool:
        """Return whether the queue is empty and no task is running."""
        return self._queue.empty() and not self._working

    def submit(self, snapshot: Snapshot, days: int, predictions: Iterable[Prediction]) -> None:
        """Queue the shadow forecasts of each served one; do not wait."""
        for prediction in predictions:
            deployment = snapshot.get(prediction.served_by)
            for version, variant in _others(deployment, prediction) if deployment is not None else ():
                task = ShadowTask(version, variant, prediction, days)
                if (self._days_done.get(task.key) or 0) < days:
                    self._enqueue(task)

    async def work(self) -> None:
        """Compute and log queued tasks forever; a task that fails is logged and skipped."""
        while True:
            task = await self._queue.get()
            self._working = True
            try:
                await self._run(task)
            except Exception:
                log.exception(
                    "shadow_prediction_failed", model=task.version.model, version=task.version.version
                )
            self._working = False

    def _enqueue(self, task: ShadowTask) -> None:
        try:
            self._queue.put_nowait(task)
        except asyncio.QueueFull:
            metrics.SHADOWS_DROPPED.inc()
        else:
            self._days_done.put(task.key, task.days)

    async def _run(self, task: ShadowTask) -> None:
        predictor, served = task.version.predictor, task.served
        prepared = await self._features.prepare(
            [served.candles],
            served.vs_currency,
            predictor.model.spec,
            reads_hours=task.version.reads_hours,
        )
        ready = prepared[served.candles.coin_id]
        if not isinstance(ready, ModelInput):
            return
        outcome = (await predictor.rows(served.vs_currency, [ready]))[ready.coin_id]
        if not isinstance(outcome, PredictionRef):
            return
        model = task.version.model
        prediction = Prediction(
            ref=outcome,
            candles=served.candles,
            vs_currency=served.vs_currency,
            model=model,
            served_by=model,
            version=task.version,
            variant=task.variant,
        )
        days = min(task.days, predictor.model.max_horizon_days)
        await self._recorder.record([prediction], days, shadow=True)


def _others(deployment: Deployment, prediction: Prediction) -> list[tuple[LiveVersion, str]]:
    """Return the other versions that must forecast the same coin and day, each with its variant."""
    others = [(deployment.shadow, SHADOW)]
    if deployment.challenger is not None and deployment.challenger_share > 0:
        others += [(deployment.production, PRODUCTION), (deployment.challenger, CHALLENGER)]
    return [(v, variant) for v, variant in others if v is not None and v is not prediction.version]
