"""Write every served forecast to the log once, before it is served.

An error or a slow disk leaves a forecast without an id, but never fails the reply.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from coincast_chassis.observability.logs import get_logger
from coincast_forecast import metrics
from coincast_forecast.fallback.executor import Prediction
from coincast_forecast.ports import Ledger
from coincast_forecast.prediction_log.append_once import WAIT_SECONDS, Appendable, AppendOnce
from coincast_forecast.rendering.columns import ledger_quantiles
from coincast_modelkit.ledger import LedgerEntry

log = get_logger("coincast.forecast.recorder")

PROBABILITIES = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975)
# Coins per append: each has up to thirty entries, or 48 of hours, which take memory.
BATCH_COINS = 50


@dataclass(frozen=True, slots=True)
class Loggable:
    """A forecast with an id; `entries(after, until)` gives its horizons after the first up to the second."""

    forecast_id: str
    entries: Callable[[int, int], list[LedgerEntry]]


class Recorder:
    """Appends one entry per forecast and horizon, however often it is served."""

    def __init__(
        self, ledger: Ledger, now: Callable[[], float], *, wait_seconds: float = WAIT_SECONDS
    ) -> None:
        self._now = now
        # Horizons are days, or hours for a forecast by the hour.
        self._log: AppendOnce[LedgerEntry] = AppendOnce(
            ledger, _count_lost, batch=BATCH_COINS, wait_seconds=wait_seconds
        )

    def contains(self, forecast_id: str, longest: int) -> bool:
        """Return whether the log holds the forecast up to a horizon, in days or in hours."""
        return self._log.contains(forecast_id, longest)

    async def record(self, predictions: Sequence[Prediction], days: int, *, shadow: bool = False) -> set[str]:
        """Append the predictions up to `days` ahead; see `append`."""
        forecasts = [
            Loggable(p.forecast_id, partial(_daily_entries, p, made_at=self._now(), shadow=shadow))
            for p in predictions
        ]
        return await self.append(forecasts, days)

    async def append(self, forecasts: Sequence[Loggable], longest: int) -> set[str]:
        """Append forecasts up to a horizon, in days or in hours as their entries are.

        Waits a second at most: a write that takes longer goes on, and its forecasts are not among the result.

        Returns:
            The ids of the forecasts that are in the log now.
        """
        wanted = [
            Appendable(f.forecast_id, longest, partial(_entries_after, f, until=longest)) for f in forecasts
        ]
        await self._log.append(wanted)
        return {f.forecast_id for f in forecasts if self.contains(f.forecast_id, longest)}


def _entries_after(forecast: Loggable, after: int, *, until: int) -> list[LedgerEntry]:
    return forecast.entries(after, until)


def _count_lost(lost: Sequence[Appendable[LedgerEntry]]) -> None:
    metrics.LEDGER_LOST.inc(sum(one.longest for one in lost))
    log.exception("forecasts_not_logged", forecasts=len(lost))


def prediction_entries(
    prediction: Prediction, horizons: Iterable[int], *, made_at: float, shadow: bool = False
) -> list[LedgerEntry]:
    """Return a prediction's entries at horizons in days.

    Args:
        prediction: A prediction at every day from the first on, from a close or an hour of the day.
        horizons: The days ahead.
        made_at: When it was made, UNIX seconds.
        shadow: Whether it was computed beside the one that was served.
    """
    prices = ledger_quantiles(prediction.ref, PROBABILITIES).tolist()
    model_input = prediction.ref.prepared
    return [
        LedgerEntry(
            forecast_id=prediction.forecast_id,
            made_at=made_at,
            coin_id=model_input.coin_id,
            vs_currency=prediction.vs_currency,
            as_of=model_input.as_of.isoformat(),
            as_of_hours=prediction.start.hours,
            model=prediction.model,
            version=prediction.version_name,
            variant=prediction.variant,
            served_by=prediction.served_by,
            horizon_days=horizon,
            last_price=prediction.ref.last_price,
            probabilities=PROBABILITIES,
            price_quantiles=tuple(prices[horizon - 1]),
            shadow=shadow,
        )
        for horizon in horizons
    ]


def _daily_entries(
    prediction: Prediction, after: int, until: int, *, made_at: float, shadow: bool
) -> list[LedgerEntry]:
    return prediction_entries(prediction, range(after + 1, until + 1), made_at=made_at, shadow=shadow)
