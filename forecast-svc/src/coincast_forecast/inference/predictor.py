"""One loaded model behind a batcher: identical forecasts in flight are one, waiting coins are one batch.

While the model computes, coins that arrive wait and form the next batch: no timer, no added latency when
idle. A forecast is computed once for each coin and last closed day, at every horizon, and kept.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from coincast_forecast.domain import Attribution
from coincast_forecast.fallback.policy import Cause, StepFailure, batch_limit_seconds
from coincast_forecast.inference.thread import ThreadStuckError, WorkerThread
from coincast_forecast.lru import Lru
from coincast_modelkit.forecasts import Forecasts
from coincast_modelkit.model_input import ModelInput
from coincast_modelkit.models.base import ForecastModel


@dataclass(frozen=True, slots=True, eq=False)
class PredictionRef:
    """One coin's place in a batch of forecasts, and what it was computed from."""

    prepared: ModelInput
    forecasts: Forecasts
    index: int


Outcome = PredictionRef | StepFailure
ObserveSeconds = Callable[[str, int, float], None]


class Predictor:
    """Forecasts of one version. Failures are answers, never exceptions."""

    def __init__(
        self,
        model: ForecastModel,
        *,
        limit_seconds: float,
        max_batch: int,
        keep_rows: int,
        timer: Callable[[], float],
        observe: ObserveSeconds = lambda _model, _coins, _seconds: None,
    ) -> None:
        self.model = model
        self._limit_seconds = limit_seconds
        self._max_batch = max_batch
        self._timer = timer
        self._observe = observe
        self._worker = WorkerThread(f"predict-{model.name}")
        self._kept: Lru[tuple[str, str], PredictionRef] = Lru(keep_rows)
        self._flights: dict[int, asyncio.Future[Outcome]] = {}
        self._waiting: list[tuple[str, ModelInput]] = []
        self._drain: asyncio.Task[None] | None = None
        self._horizons = tuple(range(1, model.max_horizon_days + 1))

    def kept(self, vs_currency: str, prepared: ModelInput) -> PredictionRef | None:
        """The forecast that was made of this very preparation, if any."""
        row = self._kept.get((prepared.coin_id, vs_currency))
        return row if row is not None and row.prepared is prepared else None

    async def rows(self, vs_currency: str, prepared: Sequence[ModelInput]) -> Mapping[str, Outcome]:
        """Each coin's forecast or why there is none. A caller that is cancelled leaves the work to the
        others.
        """
        outcomes: dict[str, Outcome] = {}
        awaited: dict[str, asyncio.Future[Outcome]] = {}
        for one in prepared:
            row = self.kept(vs_currency, one)
            if row is not None:
                outcomes[one.coin_id] = row
            else:
                awaited[one.coin_id] = self._join(vs_currency, one)
        if awaited:
            await asyncio.wait(awaited.values())
            outcomes.update((coin, future.result()) for coin, future in awaited.items())
        return outcomes

    async def explain(self, prepared: ModelInput, horizon: int, top: int) -> tuple[Attribution, ...]:
        """The most telling features; none where the model has none to tell. Raises what the model raises.

        LightGBM's contributions are not safe beside its predictions: both run on the one thread of this
        version.
        """
        told = await self._worker.run(
            lambda: self.model.explain(prepared, horizon, top), limit_seconds=self._limit_seconds
        )
        return tuple(
            Attribution(
                a.feature, a.value if isfinite(a.value) else None, a.contribution, a.output, a.horizon_days
            )
            for a in told
            if isfinite(a.contribution)
        )

    def stop(self) -> None:
        """Let the worker's thread end."""
        self._worker.stop()

    def _join(self, vs_currency: str, prepared: ModelInput) -> "asyncio.Future[Outcome]":
        flight = self._flights.get(id(prepared))
        if flight is None:
            flight = asyncio.get_running_loop().create_future()
            self._flights[id(prepared)] = flight
            self._waiting.append((vs_currency, prepared))
            if self._drain is None or self._drain.done():
                self._drain = asyncio.create_task(self._run())
        return flight

    async def _run(self) -> None:
        while self._waiting:
            batch = self._waiting[: self._max_batch]
            del self._waiting[: self._max_batch]
            flights = [self._flights[id(prepared)] for _, prepared in batch]
            try:
                outcomes = await self._predict([prepared for _, prepared in batch])
            finally:
                for _, prepared in batch:
                    del self._flights[id(prepared)]
            for (vs_currency, prepared), flight, outcome in zip(batch, flights, outcomes, strict=True):
                if isinstance(outcome, PredictionRef):
                    self._kept.put((prepared.coin_id, vs_currency), outcome)
                flight.set_result(outcome)

    async def _predict(self, batch: Sequence[ModelInput]) -> list[Outcome]:
        started = self._timer()
        name, limit = self.model.name, batch_limit_seconds(self._limit_seconds, len(batch))
        try:
            forecasts = await self._worker.run(
                lambda: self.model.predict(batch, self._horizons), limit_seconds=limit
            )
            usable = _usable(forecasts, len(batch))
        except ThreadStuckError:
            return [StepFailure(Cause.STUCK, f"{name} hangs in an earlier call")] * len(batch)
        except TimeoutError:
            sentence = f"{name} gave no answer within {limit:.3g} s"
            return [StepFailure(Cause.TIMED_OUT, sentence)] * len(batch)
        except Exception as error:  # whatever a model raises is a failed step, not a failed request
            return [StepFailure(Cause.RAISED, f"{name} failed ({type(error).__name__})")] * len(batch)
        self._observe(name, len(batch), self._timer() - started)
        failure = StepFailure(Cause.NOT_FINITE, f"{name} gave no finite forecast")
        return [
            PredictionRef(prepared, forecasts, index) if usable[index] else failure
            for index, prepared in enumerate(batch)
        ]


def _usable(forecasts: Forecasts, coins: int) -> list[bool]:
    """Which coins have a whole forecast. Raises ValueError where the model lost or invented some."""
    usable: list[bool] = forecasts.usable().tolist()
    if len(usable) != coins:
        raise ValueError(f"{len(usable)} forecasts came back for {coins} coins")
    return usable
