"""Write every served forecast to the log once, before it is served.

After an error or with a slow disk, a forecast is served without an id; the reply never fails for this reason.
Risk answers use `AppendOnce` in the same way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar

from coincast_chassis.clock import Clock
from coincast_chassis.observability.logs import get_logger
from coincast_chassis.resilience.bounded_cache import Lru
from coincast_forecast import metrics
from coincast_forecast.fallback.executor import Prediction
from coincast_forecast.ports import Ledger
from coincast_forecast.rendering.service import ledger_quantiles
from coincast_modelkit.ledger import LedgerEntry

Entry = TypeVar("Entry")
Entry_contra = TypeVar("Entry_contra", contravariant=True)
REMEMBERED = 20_000
WAIT_SECONDS = 1.0


class EntryLog(Protocol[Entry_contra]):
    """A log of entries."""

    async def append(self, entries: Sequence[Entry_contra]) -> bool:
        """Write entries; return whether they are now in the log."""
        ...


@dataclass(frozen=True, slots=True)
class Appendable(Generic[Entry]):
    """A forecast or statement to be logged up to a horizon.

    Attributes:
        key: Id of the forecast or statement.
        longest: The longest horizon that was served, in days or in hours.
        make: Returns the entries at horizons beyond the given one, up to which the log already has them.
    """

    key: str
    longest: int
    make: Callable[[int], list[Entry]]


class AppendOnce(Generic[Entry]):
    """Appends each key once for each horizon; concurrent requests for the same key share one write."""

    def __init__(
        self,
        log: EntryLog[Entry],
        on_error: Callable[[Sequence[Appendable[Entry]]], None],
        *,
        batch: int,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        """Store the log.

        Args:
            log: The log.
            on_error: Called in an exception handler with the items that were not written.
            batch: Maximum number of keys in one write.
            wait_seconds: How long a request waits for a write; the write continues afterwards.
        """
        self._log, self._on_error = log, on_error
        self._batch, self._wait_seconds = batch, wait_seconds
        self._logged: Lru[str, int] = Lru(REMEMBERED)
        self._flights: dict[str, asyncio.Task[None]] = {}

    def contains(self, key: str, longest: int) -> bool:
        """Return whether the log has a key up to a horizon."""
        return (self._logged.get(key) or 0) >= longest

    def missing(self, wanted: Iterable[Appendable[Entry]]) -> list[Appendable[Entry]]:
        """Return the items that the log does not have up to their longest horizon."""
        return [one for one in wanted if not self.contains(one.key, one.longest)]

    async def append(
        self, wanted: Sequence[Appendable[Entry]], *, admit: Callable[[int], bool] | None = None
    ) -> None:
        """Append the missing items.

        Args:
            wanted: The served items.
            admit: Returns whether a given number of keys may be written; None admits all.
        """
        missing = self.missing(wanted)
        flights = {self._flights[one.key] for one in missing if one.key in self._flights}
        if flights:
            await asyncio.wait(flights, timeout=self._wait_seconds)
            missing = self.missing(missing)
        if not missing or (admit is not None and not admit(len(missing))):
            return
        task = asyncio.create_task(self._write(missing))
        for one in missing:
            self._flights[one.key] = task
        task.add_done_callback(lambda _: self._remove_flights(missing, task))
        await asyncio.wait([task], timeout=self._wait_seconds)

    async def _write(self, missing: Sequence[Appendable[Entry]]) -> None:
        for start in range(0, len(missing), self._batch):
            batch = missing[start : start + self._batch]
            try:
                entries = [entry for one in batch for entry in one.make(self._logged.get(one.key) or 0)]
                appended = await self._log.append(entries)
            except Exception:
                self._on_error(batch)
                continue
            if not appended:
                return
            for one in batch:
                self._logged.put(one.key, max(one.longest, self._logged.get(one.key) or 0))

    def _remove_flights(self, missing: Sequence[Appendable[Entry]], task: asyncio.Task[None]) -> None:
        for one in missing:
            if self._flights.get(one.key) is task:
                del self._flights[one.key]


log = get_logger("coincast.forecast.recorder")

PROBABILITIES = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975)
# Coins per append, to limit memory: each has up to 30 daily or 48 hourly entries.
BATCH_COINS = 50


@dataclass(frozen=True, slots=True)
class Loggable:
    """A forecast with an id; `entries(after, until)` returns its entries at horizons after + 1 to until."""

    forecast_id: str
    entries: Callable[[int, int], list[LedgerEntry]]


class Recorder:
    """Appends one entry per forecast and horizon, even if it is served repeatedly."""

    def __init__(self, ledger: Ledger, clock: Clock, *, wait_seconds: float = WAIT_SECONDS) -> None:
        self._clock = clock
        # Horizons are days, or hours for an hourly forecast.
        self._log: AppendOnce[LedgerEntry] = AppendOnce(
            ledger, _count_lost, batch=BATCH_COINS, wait_seconds=wait_seconds
        )

    def contains(self, forecast_id: str, longest: int) -> bool:
        """Return whether the log has the forecast up to a horizon, in days or in hours."""
        return self._log.contains(forecast_id, longest)

    async def record(self, predictions: Sequence[Prediction], days: int, *, shadow: bool = False) -> set[str]:
        """Append the predictions up to `days` ahead; see `append`."""
        forecasts = [
            Loggable(p.forecast_id, partial(_daily_entries, p, made_at=self._clock.now(), shadow=shadow))
            for p in predictions
        ]
        return await self.append(forecasts, days)

    async def append(self, forecasts: Sequence[Loggable], longest: int) -> set[str]:
        """Append forecasts up to a horizon, in days or in hours like their entries.

        It waits at most a second. A slower write continues, but its forecasts are not in the result.

        Returns:
            The ids of the forecasts that are now in the log.
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
    """Return the log entries of a prediction at horizons in days.

    Args:
        prediction: A prediction at horizons 1, 2, ... days, from a close or an hour of the day.
        horizons: The days ahead.
        made_at: Time of the forecast, UNIX seconds.
        shadow: Whether it is a shadow prediction, which was not served.
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
