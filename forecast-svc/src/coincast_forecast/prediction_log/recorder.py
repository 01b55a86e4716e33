"""Sees to it that every forecast shown is in the ledger once, before it is shown."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from coincast_forecast.inference.predictor import PredictionRef
from coincast_forecast.lru import Lru
from coincast_forecast.ports import Ledger
from coincast_forecast.rendering.columns import ledger_quantiles
from coincast_modelkit.ledger import LedgerEntry

PROBABILITIES = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975)
KEPT_FORECASTS = 20_000
TOGETHER = 50


@dataclass(frozen=True, slots=True, eq=False)
class LogRecord:
    """A forecast about to be shown (or shadowed), as far as `days`."""

    forecast_id: str
    row: PredictionRef
    vs_currency: str
    model: str
    version: str
    variant: str
    served_by: str
    days: int
    shadow: bool = False


class Recorder:
    """Appends what was not appended before: a forecast and horizon is one entry however often it is asked
    for.
    """

    def __init__(self, ledger: Ledger, now: Callable[[], float]) -> None:
        self._ledger = ledger
        self._now = now
        self._entered: Lru[str, int] = Lru(KEPT_FORECASTS)
        self._flights: dict[str, asyncio.Task[bool]] = {}

    def contains(self, forecast_id: str, days: int) -> bool:
        """Whether the ledger holds the forecast as far as these days."""
        return (self._entered.get(forecast_id) or 0) >= days

    async def record(self, shown: Sequence[LogRecord]) -> set[str]:
        """Append all; the ids that are safe in the ledger now."""
        safe = {one.forecast_id for one in shown if self.contains(one.forecast_id, one.days)}
        waiting = [one for one in shown if one.forecast_id not in safe]
        flights = {self._flights[one.forecast_id] for one in waiting if one.forecast_id in self._flights}
        if flights:
            await asyncio.wait(flights)
            waiting = [one for one in waiting if not self.contains(one.forecast_id, one.days)]
        if waiting:
            task = asyncio.create_task(self._append(waiting))
            for one in waiting:
                self._flights[one.forecast_id] = task
            task.add_done_callback(lambda _: self._land(waiting, task))
            await asyncio.shield(task)
        return {one.forecast_id for one in shown if self.contains(one.forecast_id, one.days)}

    async def _append(self, waiting: Sequence[LogRecord]) -> bool:
        """Coins by the handful: thirty entries each, which take memory."""
        for start in range(0, len(waiting), TOGETHER):
            part = waiting[start : start + TOGETHER]
            if not await self._ledger.append([entry for one in part for entry in self._entries(one)]):
                return False
            for one in part:
                self._entered.put(one.forecast_id, max(one.days, self._entered.get(one.forecast_id) or 0))
        return True

    def _land(self, waiting: Sequence[LogRecord], task: "asyncio.Task[bool]") -> None:
        for one in waiting:
            if self._flights.get(one.forecast_id) is task:
                del self._flights[one.forecast_id]

    def _entries(self, one: LogRecord) -> list[LedgerEntry]:
        first = self._entered.get(one.forecast_id) or 0
        prices = ledger_quantiles(one.row, PROBABILITIES).tolist()
        prepared, made_at = one.row.prepared, self._now()
        return [
            LedgerEntry(
                forecast_id=one.forecast_id,
                made_at=made_at,
                coin_id=prepared.coin_id,
                vs_currency=one.vs_currency,
                as_of=prepared.as_of.isoformat(),
                model=one.model,
                version=one.version,
                variant=one.variant,
                served_by=one.served_by,
                horizon_days=horizon,
                last_price=prepared.last_price,
                probabilities=PROBABILITIES,
                price_quantiles=tuple(prices[horizon - 1]),
                shadow=one.shadow,
            )
            for horizon in range(first + 1, one.days + 1)
        ]
