"""Dynamic batching in front of one model: requests in flight are coalesced, waiting coins form a batch.

Coins that arrive while the model computes form the next batch. There is no timer, so an idle model adds no
latency. A forecast is computed once per coin and last closed day, at every horizon, and cached.

The output is checked before it is served: see `plausibility`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import isfinite

from coincast_chassis.observability.logs import get_logger
from coincast_chassis.resilience.bounded_cache import Lru
from coincast_forecast import metrics
from coincast_forecast.domain import Attribution, Cause, StepFailure
from coincast_forecast.inference.plausibility import NOT_FINITE, implausible_reasons
from coincast_forecast.inference.thread import ThreadStuckError, WorkerThread
from coincast_modelkit.forecasts import Forecasts
from coincast_modelkit.model_input import ModelInput
from coincast_modelkit.models.base import ForecastModel

log = get_logger("coincast.forecast.predictor")

# Time per coin for computing features the first time, at most, on a busy machine.
COIN_SECONDS = 0.04


def batch_limit_seconds(limit_seconds: float, coins: int) -> float:
    """Return when a batch counts as hung: after the limit of one coin plus a time per further coin."""
    return limit_seconds + COIN_SECONDS * (coins - 1)


@dataclass(frozen=True, slots=True, eq=False)
class PredictionRef:
    """One coin's row in a batch of forecasts, with its input."""

    prepared: ModelInput
    forecasts: Forecasts
    index: int

    @property
    def last_price(self) -> float:
        """Return the price that the forecast starts from."""
        return float(self.forecasts.last_price[self.index])


Outcome = PredictionRef | StepFailure


class Predictor:
    """Computes the forecasts of one version. Failures are returned as StepFailure, never raised."""

    def __init__(
        self,
        model: ForecastModel,
        *,
        limit_seconds: float,
        max_batch: int,
        keep_rows: int,
        timer: Callable[[], float],
    ) -> None:
        self.model = model
        self._limit_seconds = limit_seconds
        self._max_batch = max_batch
        self._timer = timer
        self._worker = WorkerThread(f"predict-{model.name}")
        self._cache: Lru[tuple[str, str], PredictionRef] = Lru(keep_rows)
        self._flights: dict[int, asyncio.Future[Outcome]] = {}
        self._waiting: list[tuple[str, ModelInput]] = []
        self._drain: asyncio.Task[None] | None = None
        self._horizons = tuple(range(1, model.max_horizon_days + 1))

    def cached(self, vs_currency: str, prepared: ModelInput) -> PredictionRef | None:
        """Return the cached forecast of exactly this input, if any."""
        row = self._cache.get((prepared.coin_id, vs_currency))
        return row if row is not None and row.prepared is prepared else None

    async def rows(self, vs_currency: str, prepared: Sequence[ModelInput]) -> Mapping[str, Outcome]:
        """Return each coin's forecast, or the failure of its computation.

        The cancellation of a caller does not cancel the computation, since others may wait for it.
        """
        outcomes: dict[str, Outcome] = {}
        awaited: dict[str, asyncio.Future[Outcome]] = {}
        for one in prepared:
            row = self.cached(vs_currency, one)
            if row is not None:
                outcomes[one.coin_id] = row
            else:
                awaited[one.coin_id] = self._join(vs_currency, one)
        if awaited:
            await asyncio.wait(awaited.values())
            outcomes.update((coin, future.result()) for coin, future in awaited.items())
        return outcomes

    async def explain(self, prepared: ModelInput, horizon: int, top: int) -> tuple[Attribution, ...]:
        """Return the features with the largest contributions; empty for a model without attributions.

        Errors of the model are raised. In LightGBM, contributions and predictions must not be computed at the
        same time, so both run on the single thread of this version.
        """
        found = await self._worker.run(
            lambda: self.model.explain(prepared, horizon, top), limit_seconds=self._limit_seconds
        )
        return tuple(
            Attribution(
                a.feature, a.value if isfinite(a.value) else None, a.contribution, a.output, a.horizon_days
            )
            for a in found
            if isfinite(a.contribution)
        )

    def stop(self) -> None:
        """Stop the thread."""
        self._worker.stop()

    def _join(self, vs_currency: str, prepared: ModelInput) -> asyncio.Future[Outcome]:
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
                    self._cache.put((prepared.coin_id, vs_currency), outcome)
                flight.set_result(outcome)

    async def _predict(self, batch: Sequence[ModelInput]) -> list[Outcome]:
        started = self._timer()
        name, limit = self.model.name, batch_limit_seconds(self._limit_seconds, len(batch))
        try:
            forecasts, reasons = await self._worker.run(lambda: self._compute(batch), limit_seconds=limit)
        except ThreadStuckError:
            return [StepFailure(Cause.STUCK, f"{name} hangs in an earlier call")] * len(batch)
        except TimeoutError:
            sentence = f"{name} gave no answer within {limit:.3g} s"
            return [StepFailure(Cause.TIMED_OUT, sentence)] * len(batch)
        except Exception as error:  # an error of a model fails this step, not the request
            return [StepFailure(Cause.RAISED, f"{name} failed ({type(error).__name__})")] * len(batch)
        metrics.INFERENCE_SECONDS.labels(name).observe(self._timer() - started)
        metrics.INFERENCE_COINS.labels(name).observe(len(batch))
        return [
            self._failure(one.coin_id, reason) if reason else PredictionRef(one, forecasts, index)
            for index, (one, reason) in enumerate(zip(batch, reasons, strict=True))
        ]

    def _compute(self, batch: Sequence[ModelInput]) -> tuple[Forecasts, list[str]]:
        """Predict and check the output; this runs on the thread of the version."""
        forecasts = self.model.predict(batch, self._horizons)
        if list(forecasts.coin_ids) != [one.coin_id for one in batch]:
            raise ValueError("the forecasts are not those of the coins of the batch")
        if forecasts.log_return_quantiles.shape[:2] != (len(batch), len(self._horizons)):
            raise ValueError("the forecasts are not those of the horizons that were requested")
        return forecasts, implausible_reasons(forecasts, batch)

    def _failure(self, coin_id: str, reason: str) -> StepFailure:
        name = self.model.name
        if reason == NOT_FINITE:
            return StepFailure(Cause.NOT_FINITE, f"{name} gave {reason}")
        log.warning("forecast_implausible", model=name, coin=coin_id, reason=reason)
        return StepFailure(Cause.IMPLAUSIBLE, f"{name} gave {reason}")


def forecast_id(
    ref: PredictionRef, *, vs_currency: str, model: str, version: str, variant: str, served_by: str
) -> str:
    """Return 32 hex digits; the same forecast has the same id on every replica.

    Args:
        ref: The forecast of one coin.
        vs_currency: The currency of its prices.
        model: The requested model.
        version: The version that answered.
        variant: production, challenger or shadow.
        served_by: The model that answered.
    """
    model_input = ref.prepared
    names = (
        model_input.coin_id,
        vs_currency,
        model_input.as_of.isoformat(),
        model,
        version,
        variant,
        served_by,
    )
    digest = blake2b("\x1f".join(names).encode(), digest_size=16)
    digest.update(ref.forecasts.last_price[ref.index].tobytes())
    digest.update(ref.forecasts.log_return_quantiles[ref.index].tobytes())
    return digest.hexdigest()
