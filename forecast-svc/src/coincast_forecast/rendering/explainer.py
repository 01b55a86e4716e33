"""The most telling features of a forecast, on request; kept for as long as the forecast is."""

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
        self, keep: int, limit_seconds: float, remaining_seconds: Callable[[], float | None]
    ) -> None:
        self._kept: Lru[Key, Explanation] = Lru(keep)
        self._limit_seconds = limit_seconds
        self._remaining_seconds = remaining_seconds

    async def of(self, answers: Collection[Prediction], days: int, top: int) -> dict[str, Explanation]:
        """Each coin's attributions at the longest day asked, one coin after another until the time is up;
        those left over say so.
        """
        limit = step_limit_seconds(self._limit_seconds, len(answers), self._remaining_seconds())
        until = time.monotonic() + limit
        late = Explanation(reason=f"not all {len(answers)} were explained within {limit:.2g} s: ask again")
        found: dict[str, Explanation] = {}
        for answered in answers:
            key = (answered.row, days, top)
            told = self._kept.get(key)
            if told is None:
                told = await _told(answered, days, top, until - time.monotonic()) or late
                if not told.reason:
                    self._kept.put(key, told)
            found[answered.row.prepared.coin_id] = told
        return found


async def _told(answered: Prediction, days: int, top: int, left_seconds: float) -> Explanation | None:
    """What the version says; None where it says nothing in time."""
    if answered.version is None:
        return Explanation(reason=f"{answered.served_by} has nothing to explain")
    if left_seconds <= 0:
        return None
    try:
        async with asyncio.timeout(left_seconds):
            told = await answered.version.predictor.explain(answered.row.prepared, days, top)
    except TimeoutError:
        return None
    except Exception as error:  # an explanation is an extra: its failure must not cost the forecast
        return Explanation(reason=f"{answered.served_by} could not explain itself ({type(error).__name__})")
    return Explanation(told, "" if told else f"{answered.served_by} has nothing to explain")
