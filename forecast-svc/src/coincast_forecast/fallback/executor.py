"""Goes down the ladder for many coins at once: each step is one batch, and those it cannot serve go on to
the next.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field

from coincast_forecast.domain import LAST_PRICE, MAX_DAYS, PRODUCTION
from coincast_forecast.fallback import naive
from coincast_forecast.fallback.policy import FALLBACK_CHAINS, Cause, StepFailure, step_limit_seconds
from coincast_forecast.features.cache import FeatureCache
from coincast_forecast.inference.predictor import Outcome, PredictionRef
from coincast_forecast.registry.deployment import LiveVersion, Snapshot
from coincast_modelkit.candles import Candles
from coincast_modelkit.model_input import ModelInput

# Coins that are waited for together: where a limit passes, slices that are ready are served all the same.
SLICE = 10
ALL_HORIZONS = tuple(range(1, MAX_DAYS + 1))


@dataclass(slots=True, eq=False)
class Attempt:
    """One coin on its way down."""

    candles: Candles
    model: str
    failures: list[StepFailure] = field(default_factory=list)

    @property
    def coin_id(self) -> str:
        """Which coin."""
        return self.candles.coin_id


@dataclass(frozen=True, slots=True)
class Prediction:
    """Who answered for a coin, and what failed before."""

    candles: Candles
    row: PredictionRef
    served_by: str
    version: LiveVersion | None
    variant: str
    failures: tuple[StepFailure, ...]


class FallbackChain:
    """Runs steps within their limits over one snapshot of versions."""

    def __init__(
        self,
        preparation: FeatureCache,
        *,
        step_timeout_seconds: float,
        remaining_seconds: Callable[[], float | None],
    ) -> None:
        self._preparation = preparation
        self._step_timeout_seconds = step_timeout_seconds
        self._remaining_seconds = remaining_seconds

    async def run(
        self, snapshot: Snapshot, climbers: Sequence[Attempt], vs_currency: str, client_key: str, days: int
    ) -> dict[str, Prediction]:
        """An answer for every coin: the last step cannot fail."""
        answers: dict[str, Prediction] = {}
        waiting = list(climbers)
        for rung in range(max((len(FALLBACK_CHAINS[c.model]) for c in climbers), default=0)):
            groups: dict[tuple[LiveVersion, str], list[Attempt]] = {}
            for climber in waiting:
                step = FALLBACK_CHAINS[climber.model][rung]
                if step == LAST_PRICE:
                    answers[climber.coin_id] = _last_price(climber)
                else:
                    self._enlist(snapshot, climber, step, client_key=client_key, days=days, groups=groups)
            results = await _together(
                [self._step(version, group, vs_currency) for (version, _), group in groups.items()]
            )
            for ((version, variant), group), outcomes in zip(groups.items(), results, strict=True):
                _settle(version, variant, group, outcomes, answers)
            waiting = [c for c in waiting if c.coin_id not in answers]
        return answers

    def _enlist(
        self,
        snapshot: Snapshot,
        climber: Attempt,
        step: str,
        *,
        client_key: str,
        days: int,
        groups: dict[tuple[LiveVersion, str], list[Attempt]],
    ) -> None:
        """Put a coin into the batch of the version that is to answer it, or note why it cannot."""
        lineup = snapshot.get(step)
        version, variant = lineup.assigned(climber.coin_id, client_key) if lineup else (None, PRODUCTION)
        if version is None:
            absent = (
                lineup.absent if lineup else StepFailure(Cause.NOT_LOADED, "no version is in production yet")
            )
            climber.failures.append(StepFailure(absent.cause, f"{step}: {absent.sentence}"))
            return
        model = version.predictor.model
        if days > model.max_horizon_days or len(climber.candles) < model.min_history_days:
            climber.failures.append(StepFailure(Cause.NOT_ABLE, f"{step} cannot serve this coin and horizon"))
            return
        if lineup is not None and lineup.substitution is not None and variant == PRODUCTION:
            climber.failures.append(lineup.substitution)
        groups.setdefault((version, variant), []).append(climber)

    async def _step(
        self, version: LiveVersion, group: Sequence[Attempt], vs_currency: str
    ) -> dict[str, Outcome]:
        limit = step_limit_seconds(self._step_timeout_seconds, len(group), self._remaining_seconds())
        slices = [group[start : start + SLICE] for start in range(0, len(group), SLICE)]
        outcomes: dict[str, Outcome] = {}
        if len(slices) == 1:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit):
                    outcomes = await self._forecast(version, group, vs_currency)
        else:
            for found in await _within(limit, [self._forecast(version, s, vs_currency) for s in slices]):
                outcomes.update(found)
        late = [climber for climber in group if climber.coin_id not in outcomes]
        outcomes.update((c.coin_id, self._late(version, c.candles, vs_currency, limit)) for c in late)
        return outcomes

    def _late(
        self, version: LiveVersion, candles: Candles, vs_currency: str, limit_seconds: float
    ) -> StepFailure:
        """Why a coin got no answer in time: features are computed on in the background, a model that hangs is
        not waited for.
        """
        if self._preparation.kept(candles, vs_currency, version.predictor.model.spec) is None:
            sentence = (
                f"the features for {version.model} were not ready within {limit_seconds:.2g} s "
                "and are being computed on: ask again"
            )
        else:
            sentence = f"{version.model} gave no answer within {limit_seconds:.2g} s"
        return StepFailure(Cause.TIMED_OUT, sentence)

    async def _forecast(
        self, version: LiveVersion, group: Sequence[Attempt], vs_currency: str
    ) -> dict[str, Outcome]:
        spec = version.predictor.model.spec
        prepared = await self._preparation.prepare([c.candles for c in group], vs_currency, spec)
        able = [p for p in prepared.values() if isinstance(p, ModelInput)]
        outcomes: dict[str, Outcome] = {
            coin: failure for coin, failure in prepared.items() if isinstance(failure, StepFailure)
        }
        outcomes.update(await version.predictor.rows(vs_currency, able))
        return outcomes


async def _within(
    limit_seconds: float, parts: Sequence[Coroutine[object, object, dict[str, Outcome]]]
) -> list[dict[str, Outcome]]:
    """What those parts found that ended in time; the rest are given up."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        await asyncio.wait(tasks, timeout=limit_seconds)
    finally:
        for task in tasks:
            task.cancel()
    return [task.result() for task in tasks if task.done() and not task.cancelled()]


async def _together(
    steps: Sequence[Coroutine[object, object, dict[str, Outcome]]],
) -> list[dict[str, Outcome]]:
    """All steps at once; a lone one, which is the rule, without a task of its own."""
    return [await steps[0]] if len(steps) == 1 else await asyncio.gather(*steps)


def _settle(
    version: LiveVersion,
    variant: str,
    group: Sequence[Attempt],
    outcomes: dict[str, Outcome],
    answers: dict[str, Prediction],
) -> None:
    for climber in group:
        outcome = outcomes[climber.coin_id]
        if isinstance(outcome, StepFailure):
            climber.failures.append(outcome)
        else:
            failures = tuple(climber.failures)
            answers[climber.coin_id] = Prediction(
                climber.candles, outcome, version.model, version, variant, failures
            )


def _last_price(climber: Attempt) -> Prediction:
    prepared = naive.without_features(climber.candles)
    row = PredictionRef(prepared, naive.forecast([prepared], ALL_HORIZONS), 0)
    return Prediction(climber.candles, row, LAST_PRICE, None, PRODUCTION, tuple(climber.failures))
