"""Feature attributions of a forecast, computed on request and cached as long as the forecast."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from coincast_forecast.domain import Attribution
from coincast_forecast.fallback.executor import Prediction
from coincast_forecast.fallback.policy import step_limit_seconds
from coincast_forecast.inference.predictor import PredictionRef
from coincast_forecast.lru import Lru

Key = tuple[PredictionRef, int, int]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A forecast's attributions, or why there are none."""

    attributions: tuple[Attribution, ...] = ()
    reason: str = ""


NO_EXPLANATION = Explanation()


class Explainer:
    """Attributions by forecast, horizon and number of features."""

    def __init__(
        self, cache_size: int, limit_seconds: float, remaining_seconds: Callable[[], float | None]
    ) -> None:
        self._cache: Lru[Key, Explanation] = Lru(cache_size)
        self._limit_seconds = limit_seconds
        self._remaining_seconds = remaining_seconds

    async def explain(
        self, predictions: Collection[Prediction], days: int, top: int
    ) -> dict[str, Explanation]:
        """Return each coin's attributions at the longest requested day, one coin after another.

        Coins that are not reached within the time limit get a reason instead.
        """
        limit = step_limit_seconds(self._limit_seconds, len(predictions), self._remaining_seconds())
        until = time.monotonic() + limit
        late = Explanation(
            reason=f"not all {len(predictions)} forecasts were explained within {limit:.2g} s: ask again"
        )
        found: dict[str, Explanation] = {}
        for prediction in predictions:
            key = (prediction.ref, days, top)
            explanation = self._cache.get(key)
            if explanation is None:
                explanation = await _explain_one(prediction, days, top, until - time.monotonic()) or late
                if not explanation.reason:
                    self._cache.put(key, explanation)
            found[prediction.ref.prepared.coin_id] = explanation
        return found


async def _explain_one(
    prediction: Prediction, days: int, top: int, left_seconds: float
) -> Explanation | None:
    """Return what the version explains; None where it does not answer in time."""
    if prediction.version is None:
        return Explanation(reason=f"{prediction.served_by} has nothing to explain")
    if left_seconds <= 0:
        return None
    try:
        async with asyncio.timeout(left_seconds):
            found = await prediction.version.predictor.explain(prediction.ref.prepared, days, top)
    except TimeoutError:
        return None
    except Exception as error:  # an explanation is optional: its failure must not fail the forecast
        return Explanation(reason=f"{prediction.served_by} could not be explained ({type(error).__name__})")
    return Explanation(found, "" if found else f"{prediction.served_by} has nothing to explain")
