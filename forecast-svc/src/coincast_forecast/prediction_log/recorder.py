"""Write every served forecast to the log once, before it is served.

The log is an extra of a reply: an error or a slow disk costs the forecast its id, never the reply.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from coincast_chassis.observability.logs import get_logger
from coincast_forecast import metrics
from coincast_forecast.fallback.executor import Prediction
from coincast_forecast.lru import Lru
from coincast_forecast.ports import Ledger
from coincast_forecast.rendering.columns import ledger_quantiles
from coincast_modelkit.ledger import LedgerEntry

log = get_logger("coincast.forecast.recorder")

PROBABILITIES = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975)
REMEMBERED_FORECASTS = 20_000
# Coins per append: each has up to thirty entries, which take memory.
BATCH_COINS = 50
WAIT_SECONDS = 1.0


class Recorder:
    """Appends one entry per forecast and horizon, however often it is served."""

    def __init__(
        self, ledger: Ledger, now: Callable[[], float], *, wait_seconds: float = WAIT_SECONDS
    ) -> None:
        self._ledger = ledger
        self._now = now
        self._wait_seconds = wait_seconds
        self._days_logged: Lru[str, int] = Lru(REMEMBERED_FORECASTS)
        self._flights: dict[str, asyncio.Task[None]] = {}

    def contains(self, forecast_id: str, days: int) -> bool:
        """Return whether the log holds the forecast up to so many days ahead."""
        return (self._days_logged.get(forecast_id) or 0) >= days

    async def record(self, predictions: Sequence[Prediction], days: int, *, shadow: bool = False) -> set[str]:
        """Append the predictions up to `days` ahead.

        Waits a second at most: a write that takes longer goes on, and its forecasts are not among the result.

        Returns:
            The ids of the forecasts that are in the log now.
        """
        missing = [p for p in predictions if not self.contains(p.forecast_id, days)]
        flights = {self._flights[p.forecast_id] for p in missing if p.forecast_id in self._flights}
        if flights:
            await asyncio.wait(flights, timeout=self._wait_seconds)
            missing = [p for p in missing if not self.contains(p.forecast_id, days)]
        if missing:
            task = asyncio.create_task(self._append(missing, days, shadow=shadow))
            for prediction in missing:
                self._flights[prediction.forecast_id] = task
            task.add_done_callback(lambda _: self._remove_flights(missing, task))
            await asyncio.wait([task], timeout=self._wait_seconds)
        return {p.forecast_id for p in predictions if self.contains(p.forecast_id, days)}

    async def _append(self, predictions: Sequence[Prediction], days: int, *, shadow: bool) -> None:
        for start in range(0, len(predictions), BATCH_COINS):
            batch = predictions[start : start + BATCH_COINS]
            try:
                entries = [entry for one in batch for entry in self._entries(one, days, shadow=shadow)]
                appended = await self._ledger.append(entries)
            except Exception:
                metrics.LEDGER_LOST.inc(len(batch) * days)
                log.exception("forecasts_not_logged", forecasts=len(batch))
                continue
            if not appended:
                return
            for one in batch:
                logged = max(days, self._days_logged.get(one.forecast_id) or 0)
                self._days_logged.put(one.forecast_id, logged)

    def _remove_flights(self, predictions: Sequence[Prediction], task: asyncio.Task[None]) -> None:
        for prediction in predictions:
            if self._flights.get(prediction.forecast_id) is task:
                del self._flights[prediction.forecast_id]

    def _entries(self, prediction: Prediction, days: int, *, shadow: bool) -> list[LedgerEntry]:
        logged = self._days_logged.get(prediction.forecast_id) or 0
        prices = ledger_quantiles(prediction.ref, PROBABILITIES).tolist()
        model_input, made_at = prediction.ref.prepared, self._now()
        return [
            LedgerEntry(
                forecast_id=prediction.forecast_id,
                made_at=made_at,
                coin_id=model_input.coin_id,
                vs_currency=prediction.vs_currency,
                as_of=model_input.as_of.isoformat(),
                model=prediction.model,
                version=prediction.version_name,
                variant=prediction.variant,
                served_by=prediction.served_by,
                horizon_days=horizon,
                last_price=model_input.last_price,
                probabilities=PROBABILITIES,
                price_quantiles=tuple(prices[horizon - 1]),
                shadow=shadow,
            )
            for horizon in range(logged + 1, days + 1)
        ]
