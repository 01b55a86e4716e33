"""Cache of model inputs: features of each coin's last closed day, computed once off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from coincast_chassis.resilience.bounded_cache import Lru
from coincast_forecast.domain import Cause, StepFailure
from coincast_forecast.inference.thread import ThreadStuckError, WorkerThread
from coincast_modelkit.candles import Candles
from coincast_modelkit.features import FeatureSpec, Market
from coincast_modelkit.hourly.day_measures import DayRow
from coincast_modelkit.model_input import ModelInput, prepare

Key = tuple[str, str, str]
FlightKey = tuple[Key, int, bool]
Outcome = ModelInput | StepFailure

# Coins per call on the thread. Other requests run between calls, and a timeout then means a hang and not a
# long list.
CHUNK = 10
# Size of a model input in bytes, without its window of features.
ENTRY_BYTES = 4096


class RowsOfHours(Protocol):
    """Terms of the hours of each coin's newest day."""

    def row(self, candles: Candles, vs_currency: str) -> DayRow | None:
        """Return the terms of a coin's newest day in a currency, or None; then they may come later."""
        ...


@dataclass(slots=True, eq=False)
class _Entry:
    candles: Candles
    reference: Reference
    covered: frozenset[tuple[str, str]]
    prepared: ModelInput


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """The reference coins of one currency and the market features computed from them."""

    panel: Mapping[str, Candles]
    market: Market

    def covers(self, candles: Candles) -> frozenset[tuple[str, str]]:
        """Return the reference coins whose candles reach a coin's last day, each with its first day.

        The first day distinguishes a whole history from a week of a sparkline, which starts later.
        """
        return frozenset(
            (coin, str(c.dates[0])) for coin, c in self.panel.items() if c.dates[-1] >= candles.dates[-1]
        )


class FeatureCache:
    """Model inputs by coin, currency and feature spec."""

    def __init__(self, *, keep_bytes: int, limit_seconds: float, hours: RowsOfHours | None = None) -> None:
        """Build an empty cache.

        Args:
            keep_bytes: Size of the cache.
            limit_seconds: Time that the features of one batch may take.
            hours: Terms of the hours for models that use them; None leaves them out.
        """
        self._hours = hours
        self._limit_seconds = limit_seconds
        self._features = WorkerThread("features")
        # A separate thread for inputs without features, so that technical can answer while features are late.
        self._tails = WorkerThread("tails")
        self._cache: Lru[Key, _Entry] = Lru(
            keep_bytes, lambda entry: ENTRY_BYTES + entry.prepared.window.nbytes
        )
        self._references: dict[str, Reference] = {}
        self._flights: dict[FlightKey, asyncio.Task[Mapping[str, Outcome]]] = {}

    def cached(
        self, candles: Candles, vs_currency: str, spec: FeatureSpec, *, reads_hours: bool = False
    ) -> ModelInput | None:
        """Return the cached input of exactly these candles and the current reference coins, or None.

        Args:
            candles: The coin's history.
            vs_currency: The currency of the prices.
            spec: The features of the model.
            reads_hours: Whether the model uses the hours of the newest day; an input without hours that have
                arrived since is then not returned.
        """
        entry = self._cache.get((candles.coin_id, vs_currency, spec.hash))
        if entry is None or entry.candles is not candles:
            return None
        if reads_hours and entry.prepared.hours is None and self._row(candles, vs_currency) is not None:
            return None
        reference = self._references.get(vs_currency)
        if reference is None or reference is entry.reference:
            return entry.prepared
        if reference.covers(candles) <= entry.covered:
            entry.reference = reference
            return entry.prepared
        return None

    async def prepare(
        self, candles: Sequence[Candles], vs_currency: str, spec: FeatureSpec, *, reads_hours: bool = False
    ) -> dict[str, Outcome]:
        """Return each coin's model input, or the failure of its computation; see `cached`."""
        outcomes: dict[str, Outcome] = {}
        missing: list[Candles] = []
        for one in candles:
            prepared = self.cached(one, vs_currency, spec, reads_hours=reads_hours)
            if prepared is None:
                missing.append(one)
            else:
                outcomes[one.coin_id] = prepared
        if missing:
            outcomes.update(await self._prepare_missing(missing, vs_currency, spec, reads_hours))
        return outcomes

    async def set_reference(self, vs_currency: str, panel: Mapping[str, Candles]) -> None:
        """Recompute the market features if the candles of a reference coin changed."""
        known = self._references.get(vs_currency)
        if known is not None and _same(known.panel, panel):
            return
        market = await self._features.run(lambda: Market.of(panel), limit_seconds=self._limit_seconds)
        self._references[vs_currency] = Reference(dict(panel), market)

    def stop(self) -> None:
        """Stop the threads."""
        self._features.stop()
        self._tails.stop()

    def _row(self, candles: Candles, vs_currency: str) -> DayRow | None:
        return self._hours.row(candles, vs_currency) if self._hours is not None else None

    async def _prepare_missing(
        self, missing: Sequence[Candles], vs_currency: str, spec: FeatureSpec, reads_hours: bool
    ) -> dict[str, Outcome]:
        fresh: list[Candles] = []
        flights: dict[str, asyncio.Task[Mapping[str, Outcome]]] = {}
        for candles in missing:
            flight = self._flights.get(_flight_key(candles, vs_currency, spec, reads_hours))
            if flight is None:
                fresh.append(candles)
            else:
                flights[candles.coin_id] = flight
        if fresh:
            task = asyncio.create_task(self._compute(fresh, vs_currency, spec, reads_hours))
            for candles in fresh:
                self._flights[_flight_key(candles, vs_currency, spec, reads_hours)] = task
                flights[candles.coin_id] = task
        await asyncio.wait(set(flights.values()))
        return {coin: task.result()[coin] for coin, task in flights.items()}

    async def _compute(
        self, missing: Sequence[Candles], vs_currency: str, spec: FeatureSpec, reads_hours: bool
    ) -> Mapping[str, Outcome]:
        """Compute model inputs. It never raises, so that one coin's bad history does not fail the others."""
        outcomes: dict[str, Outcome] = {}
        try:
            for start in range(0, len(missing), CHUNK):
                chunk = missing[start : start + CHUNK]
                outcomes.update(await self._compute_chunk(chunk, vs_currency, spec, reads_hours))
        finally:
            for one in missing:
                self._flights.pop(_flight_key(one, vs_currency, spec, reads_hours), None)
        return outcomes

    async def _compute_chunk(
        self, chunk: Sequence[Candles], vs_currency: str, spec: FeatureSpec, reads_hours: bool
    ) -> Mapping[str, Outcome]:
        reference = self._references.get(vs_currency) or Reference({}, Market.of({}))
        given = [(one, self._row(one, vs_currency) if reads_hours else None) for one in chunk]
        try:
            worker = self._features if spec.names else self._tails
            outcomes = await worker.run(
                lambda: {c.coin_id: _prepare_one(c, reference.market, spec, row) for c, row in given},
                limit_seconds=self._limit_seconds,
            )
        except (TimeoutError, ThreadStuckError):
            failure = StepFailure(Cause.TIMED_OUT, f"features took longer than {self._limit_seconds:g} s")
            return {one.coin_id: failure for one in chunk}
        for one in chunk:
            outcome = outcomes[one.coin_id]
            if isinstance(outcome, ModelInput):
                entry = _Entry(one, reference, reference.covers(one), outcome)
                self._cache.put((one.coin_id, vs_currency, spec.hash), entry)
        return outcomes


def _prepare_one(candles: Candles, market: Market, spec: FeatureSpec, hours: DayRow | None) -> Outcome:
    try:
        return prepare(candles, market, spec, hours)
    except Exception as error:  # an error in one coin's features is a failed step of that coin
        return StepFailure(Cause.RAISED, f"the features of {candles.coin_id} failed ({type(error).__name__})")


def _same(known: Mapping[str, Candles], panel: Mapping[str, Candles]) -> bool:
    return known.keys() == panel.keys() and all(known[coin] is panel[coin] for coin in panel)


def _flight_key(candles: Candles, vs_currency: str, spec: FeatureSpec, reads_hours: bool) -> FlightKey:
    return (candles.coin_id, vs_currency, spec.hash), id(candles), reads_hours
