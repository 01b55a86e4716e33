"""The model fallback chain: each step is one batch, and coins that fail continue with the next step.

The order of the models depends on the requested one. Each step has a time limit.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from coincast_forecast.domain import (
    CLOSE,
    ENSEMBLE,
    LAST_PRICE,
    LIGHTGBM,
    LSTM,
    MAX_DAYS,
    PRODUCTION,
    TECHNICAL,
    Cause,
    Start,
    StepFailure,
)
from coincast_forecast.fallback import naive
from coincast_forecast.features.cache import Outcome as InputOutcome
from coincast_forecast.inference.predictor import Outcome, PredictionRef, batch_limit_seconds, forecast_id
from coincast_forecast.registry.deployment import LiveVersion, Snapshot
from coincast_modelkit.candles import Candles
from coincast_modelkit.features import FeatureSpec
from coincast_modelkit.model_input import ModelInput

FALLBACK_CHAINS: dict[str, tuple[str, ...]] = {
    ENSEMBLE: (ENSEMBLE, LIGHTGBM, LSTM, TECHNICAL, LAST_PRICE),
    LIGHTGBM: (LIGHTGBM, TECHNICAL, LAST_PRICE),
    LSTM: (LSTM, TECHNICAL, LAST_PRICE),
    TECHNICAL: (TECHNICAL, LAST_PRICE),
}

# Part of the caller's time that is reserved for the next steps: technical takes a few milliseconds per coin.
RESERVE_SECONDS = 1.5
RESERVE_COIN_SECONDS = 0.008
# Coins per slice of a batch; at the time limit, the slices that are ready are served.
SLICE_COINS = 10
ALL_HORIZONS = tuple(range(1, MAX_DAYS + 1))


@dataclass(slots=True, eq=False)
class Attempt:
    """One coin's progress through the fallback chain of the requested model."""

    candles: Candles
    model: str
    failures: list[StepFailure] = field(default_factory=list)

    @property
    def coin_id(self) -> str:
        """Return the coin's id."""
        return self.candles.coin_id


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """One coin's predicted distribution, the model that computed it, and the failed steps before.

    Inference, rendering, the forecast log and shadow traffic all use this class.

    Attributes:
        ref: The coin's row in a batch of forecasts, with its input.
        candles: The coin's whole history.
        vs_currency: The currency of the prices.
        model: The requested model, or the one that `auto` selected.
        served_by: The model that answered.
        version: The version that answered; None for the naive forecast.
        variant: The alias of that version: production, challenger or shadow.
        failures: The steps that failed before, in order.
        start: The hour of the day from which the forecast starts.
        forecast_id: Id of the forecast, computed from the other fields.
    """

    ref: PredictionRef
    candles: Candles
    vs_currency: str
    model: str
    served_by: str
    version: LiveVersion | None
    variant: str
    failures: tuple[StepFailure, ...] = ()
    start: Start = CLOSE
    forecast_id: str = field(init=False)

    def __post_init__(self) -> None:
        identity = forecast_id(
            self.ref,
            vs_currency=self.vs_currency,
            model=self.model,
            version=self.version_name,
            variant=self.variant,
            served_by=self.served_by,
        )
        object.__setattr__(self, "forecast_id", identity)

    @property
    def version_name(self) -> str:
        """Return the version's name; empty for a model without versions."""
        return self.version.version if self.version is not None else ""

    @property
    def server_name(self) -> str:
        """Return the model and the version that answered, for a sentence."""
        return f"{self.served_by} {self.version_name}".strip()

    @property
    def failure_sentence(self) -> str:
        """Return one sentence with the failures and the model that answered; empty without failures."""
        if not self.failures:
            return ""
        sentences = "; ".join(failure.sentence for failure in self.failures)
        return f"{sentences}; {self.server_name} answered instead."


def step_limit_seconds(limit_seconds: float, coins: int, remaining_seconds: float | None) -> float:
    """Return the time limit of a step.

    It is the step's own limit, extended for many coins, and bounded by the caller's remaining time. A step
    may use half of the remaining time, or all of it except the reserve for the next steps, whichever is
    longer.
    """
    limit_seconds = batch_limit_seconds(limit_seconds, coins)
    if remaining_seconds is None:
        return limit_seconds
    reserve = RESERVE_SECONDS + RESERVE_COIN_SECONDS * coins
    return max(0.0, min(limit_seconds, max(remaining_seconds / 2, remaining_seconds - reserve)))


class FeatureSource(Protocol):
    """Computes and caches model inputs."""

    def cached(
        self, candles: Candles, vs_currency: str, spec: FeatureSpec, *, reads_hours: bool = False
    ) -> ModelInput | None:
        """Return the cached input of exactly these candles, or None."""
        ...

    async def prepare(
        self, candles: Sequence[Candles], vs_currency: str, spec: FeatureSpec, *, reads_hours: bool = False
    ) -> Mapping[str, InputOutcome]:
        """Return each coin's model input, or the failure of its computation.

        Args:
            candles: The coins' histories.
            vs_currency: The currency of the prices.
            spec: The features of the model.
            reads_hours: Whether the model uses the hours of the newest day.
        """
        ...


class FallbackChain:
    """Runs the steps of the chain within their time limits, over one snapshot of versions."""

    def __init__(
        self,
        features: FeatureSource,
        *,
        step_timeout_seconds: float,
        remaining_seconds: Callable[[], float | None],
        cache_scope: str = "",
    ) -> None:
        self._features = features
        # Part of the predictors' cache keys: it separates this chain's predictions from those of other
        # chains.
        self._cache_scope = cache_scope
        self._step_timeout_seconds = step_timeout_seconds
        self._remaining_seconds = remaining_seconds

    async def run(
        self,
        snapshot: Snapshot,
        attempts: Sequence[Attempt],
        *,
        vs_currency: str,
        client_key: str,
        days: int,
    ) -> dict[str, Prediction]:
        """Return a prediction for every coin. The last step, the naive forecast, cannot fail.

        Args:
            snapshot: The versions that serve this request.
            attempts: One per coin, with its model and candles.
            vs_currency: The currency of the prices.
            client_key: Key that assigns the caller to a variant of an A/B test.
            days: The longest horizon.
        """
        predictions: dict[str, Prediction] = {}
        waiting = list(attempts)
        for position in range(max((len(FALLBACK_CHAINS[a.model]) for a in attempts), default=0)):
            groups: dict[tuple[LiveVersion, str], list[Attempt]] = {}
            for attempt in waiting:
                step = FALLBACK_CHAINS[attempt.model][position]
                if step == LAST_PRICE:
                    predictions[attempt.coin_id] = _predict_naively(attempt, vs_currency)
                    continue
                chosen = self._choose_version(snapshot, attempt, step, client_key=client_key, days=days)
                if chosen is not None:
                    groups.setdefault(chosen, []).append(attempt)
            results = await _gather(
                [self._run_step(version, group, vs_currency) for (version, _), group in groups.items()]
            )
            for ((version, variant), group), outcomes in zip(groups.items(), results, strict=True):
                for attempt in group:
                    outcome = outcomes[attempt.coin_id]
                    if isinstance(outcome, StepFailure):
                        attempt.failures.append(outcome)
                        continue
                    predictions[attempt.coin_id] = Prediction(
                        ref=outcome,
                        candles=attempt.candles,
                        vs_currency=vs_currency,
                        model=attempt.model,
                        served_by=version.model,
                        version=version,
                        variant=variant,
                        failures=tuple(attempt.failures),
                    )
            waiting = [a for a in waiting if a.coin_id not in predictions]
        return predictions

    def _choose_version(
        self, snapshot: Snapshot, attempt: Attempt, step: str, *, client_key: str, days: int
    ) -> tuple[LiveVersion, str] | None:
        """Return the version and variant for a coin, or None after adding the reason to the attempt."""
        deployment = snapshot.get(step)
        version, variant = (
            deployment.assigned(attempt.coin_id, client_key) if deployment else (None, PRODUCTION)
        )
        if version is None:
            absent = (
                deployment.absent
                if deployment
                else StepFailure(Cause.NOT_LOADED, "no version is in production yet")
            )
            attempt.failures.append(StepFailure(absent.cause, f"{step}: {absent.sentence}"))
            return None
        model = version.predictor.model
        if days > model.max_horizon_days:
            sentence = f"{step} forecasts up to {model.max_horizon_days} days, not {days}"
            attempt.failures.append(StepFailure(Cause.NOT_ABLE, sentence))
            return None
        if len(attempt.candles) < model.min_history_days:
            sentence = (
                f"{step} needs {model.min_history_days} closed days of history and {attempt.coin_id} has "
                f"{len(attempt.candles)}"
            )
            attempt.failures.append(StepFailure(Cause.NOT_ABLE, sentence))
            return None
        if deployment is not None and deployment.substitution is not None and variant == PRODUCTION:
            attempt.failures.append(deployment.substitution)
        return version, variant

    async def _run_step(
        self, version: LiveVersion, group: Sequence[Attempt], vs_currency: str
    ) -> dict[str, Outcome]:
        limit = step_limit_seconds(self._step_timeout_seconds, len(group), self._remaining_seconds())
        slices = [group[start : start + SLICE_COINS] for start in range(0, len(group), SLICE_COINS)]
        outcomes: dict[str, Outcome] = {}
        if len(slices) == 1:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit):
                    outcomes = await self._predict(version, group, vs_currency)
        else:
            for found in await _within(limit, [self._predict(version, s, vs_currency) for s in slices]):
                outcomes.update(found)
        late = [attempt for attempt in group if attempt.coin_id not in outcomes]
        outcomes.update((a.coin_id, self._timeout_of(version, a.candles, vs_currency, limit)) for a in late)
        return outcomes

    def _timeout_of(
        self, version: LiveVersion, candles: Candles, vs_currency: str, limit_seconds: float
    ) -> StepFailure:
        """Return the failure of a coin that missed the limit: its features were late, or its model hangs."""
        if self._features.cached(candles, vs_currency, version.predictor.model.spec) is None:
            sentence = (
                f"the features for {version.model} were not ready within {limit_seconds:.2g} s "
                "and are still being computed: retry"
            )
        else:
            sentence = f"{version.model} gave no answer within {limit_seconds:.2g} s"
        return StepFailure(Cause.TIMED_OUT, sentence)

    async def _predict(
        self, version: LiveVersion, group: Sequence[Attempt], vs_currency: str
    ) -> dict[str, Outcome]:
        spec = version.predictor.model.spec
        prepared = await self._features.prepare(
            [a.candles for a in group], vs_currency, spec, reads_hours=version.reads_hours
        )
        able = [p for p in prepared.values() if isinstance(p, ModelInput)]
        outcomes: dict[str, Outcome] = {
            coin: failure for coin, failure in prepared.items() if isinstance(failure, StepFailure)
        }
        outcomes.update(await version.predictor.rows(vs_currency + self._cache_scope, able))
        return outcomes


async def _within(
    limit_seconds: float, parts: Sequence[Coroutine[object, object, dict[str, Outcome]]]
) -> list[dict[str, Outcome]]:
    """Return the results of the parts that end within the limit; cancel the other parts."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        await asyncio.wait(tasks, timeout=limit_seconds)
    finally:
        for task in tasks:
            task.cancel()
    return [task.result() for task in tasks if task.done() and not task.cancelled()]


async def _gather(
    steps: Sequence[Coroutine[object, object, dict[str, Outcome]]],
) -> list[dict[str, Outcome]]:
    """Run all steps concurrently; a single step, the usual case, needs no separate task."""
    return [await steps[0]] if len(steps) == 1 else await asyncio.gather(*steps)


def _predict_naively(attempt: Attempt, vs_currency: str) -> Prediction:
    model_input = naive.without_features(attempt.candles)
    return Prediction(
        ref=PredictionRef(model_input, naive.forecast([model_input], ALL_HORIZONS), 0),
        candles=attempt.candles,
        vs_currency=vs_currency,
        model=attempt.model,
        served_by=LAST_PRICE,
        version=None,
        variant=PRODUCTION,
        failures=tuple(attempt.failures),
    )
