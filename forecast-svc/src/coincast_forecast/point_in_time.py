"""Forecasts of past days, made from what was known while the day was the newest closed one.

Candles are those that were stored before the next day had closed, versions those that learnt from no later
day, and `auto` selects without live scores, which are of later days. Such forecasts are not logged, since
they were not served then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

from coincast_chassis.errors import CoincastError, InvalidInput
from coincast_forecast.domain import (
    AUTO,
    LAST_PRICE,
    TECHNICAL,
    TRAINED_MODELS,
    CoinForecast,
    ForecastQuery,
    LiveScores,
    Provenance,
    ServedForecast,
    close_of,
)
from coincast_forecast.fallback.executor import Attempt, FallbackChain, Prediction
from coincast_forecast.fallback.policy import FALLBACK_CHAINS, Cause, StepFailure
from coincast_forecast.features.cache import Outcome
from coincast_forecast.inference.thread import ThreadStuckError, WorkerThread
from coincast_forecast.metrics import Metrics
from coincast_forecast.ports import History, PastHistorySource
from coincast_forecast.registry import selection
from coincast_forecast.registry.deployment import Snapshot
from coincast_forecast.registry.historical import HistoricalVersions
from coincast_forecast.rendering.service import ForecastRenderer
from coincast_forecast.service import (
    NO_MODEL,
    ForecastResponse,
    check_history,
    check_horizon,
    degraded_reasons,
)
from coincast_modelkit.candles import Candles
from coincast_modelkit.features import REFERENCE_COINS, FeatureSpec, Market
from coincast_modelkit.model_input import ModelInput, prepare

CACHE_SCOPE = "@past"
# The last point of a day comes some minutes after its close. Market-data counts the day from this long
# after it, which is the moment from which the day's forecast could be served.
SETTLED_AFTER = timedelta(minutes=35)
# A day's forecast is served until the next day has closed: data that arrived by then was known.
SERVED_FOR = timedelta(days=1) - timedelta(seconds=1)
# How far the estimate of market-data's clock may run ahead of it: a moment to come would be refused.
CLOCK_ERROR = timedelta(seconds=10)


class PastFeatures:
    """Model inputs of one request, with the market features of that day."""

    def __init__(self, worker: WorkerThread, panel: Mapping[str, Candles], limit_seconds: float) -> None:
        self._worker = worker
        self._panel = panel
        self._limit_seconds = limit_seconds
        self._market: Market | None = None
        self._inputs: dict[tuple[str, str], ModelInput] = {}

    def cached(self, candles: Candles, vs_currency: str, spec: FeatureSpec) -> ModelInput | None:
        """Return the input of a coin where it is computed."""
        return self._inputs.get((candles.coin_id, spec.hash))

    async def prepare(
        self, candles: Sequence[Candles], vs_currency: str, spec: FeatureSpec
    ) -> Mapping[str, Outcome]:
        """Return each coin's model input, or why there is none."""
        try:
            return await self._worker.run(
                lambda: {one.coin_id: self._prepare_one(one, spec) for one in candles},
                limit_seconds=self._limit_seconds,
            )
        except (TimeoutError, ThreadStuckError):
            failure = StepFailure(Cause.TIMED_OUT, f"features took longer than {self._limit_seconds:g} s")
            return {one.coin_id: failure for one in candles}

    def _prepare_one(self, candles: Candles, spec: FeatureSpec) -> Outcome:
        found = self._inputs.get((candles.coin_id, spec.hash))
        if found is not None:
            return found
        try:
            if self._market is None:
                self._market = Market.of(self._panel)
            made = prepare(candles, self._market, spec)
        except Exception as error:  # one coin's features failing is that coin's failed step
            sentence = f"the features of {candles.coin_id} failed ({type(error).__name__})"
            return StepFailure(Cause.RAISED, sentence)
        self._inputs[candles.coin_id, spec.hash] = made
        return made


@dataclass(frozen=True, slots=True)
class PastDependencies:
    """The collaborators of the service.

    Attributes:
        source: Histories as they were known at a moment.
        versions: Versions that learnt from no later day.
        renderer: Renders predictions.
        metrics: Counts errors.
        clock_offset: The data source's clock minus this machine's monotonic clock; None where unknown.
        monotonic: This machine's monotonic clock.
        remaining_seconds: What is left of the request's time.
        history_days: How many days of history a forecast uses.
        step_timeout_seconds: How long a step may take.
    """

    source: PastHistorySource
    versions: HistoricalVersions
    renderer: ForecastRenderer
    metrics: Metrics
    clock_offset: Callable[[], float | None]
    monotonic: Callable[[], float]
    remaining_seconds: Callable[[], float | None]
    history_days: int
    step_timeout_seconds: float


class PointInTimeService:
    """Makes the forecast that a past day could have had."""

    def __init__(self, dependencies: PastDependencies) -> None:
        self._with = dependencies
        self._worker = WorkerThread("past-features")

    def stop(self) -> None:
        """Let the thread end."""
        self._worker.stop()

    async def forecast(self, query: ForecastQuery, day: date) -> ForecastResponse:
        """Return a forecast or an error for every coin of the query, as of the close of the day."""
        found = await self._with.source.fetch(
            list(dict.fromkeys((*query.ids, *REFERENCE_COINS))),
            query.vs_currency,
            self._with.history_days,
            self._known_at(day),
        )
        errors = {
            coin: _plain(error, day) for coin, error in found.items() if isinstance(error, CoincastError)
        }
        histories = {coin: h for coin in query.ids if isinstance(h := found.get(coin), History)}
        panel = {coin: h.candles for coin in REFERENCE_COINS if isinstance(h := found.get(coin), History)}
        snapshot = await self._with.versions.snapshot_of(_models_of(query.model), day)
        attempts: list[Attempt] = []
        for history in histories.values():
            try:
                attempts.append(_attempt(snapshot, query, history.candles))
            except CoincastError as error:
                errors[history.candles.coin_id] = error
        predictions = await self._predict(query, snapshot, attempts, panel)
        forecasts = self._render(query, predictions, histories, day)
        for coin in query.ids:
            if coin in errors:
                self._with.metrics.coin_error(errors[coin].kind)
        return ForecastResponse(
            tuple(
                ServedForecast(forecasts[coin], self._provenance(histories[coin]))
                for coin in query.ids
                if coin in forecasts
            ),
            tuple((coin, errors[coin]) for coin in query.ids if coin in errors),
        )

    def _known_at(self, day: date) -> datetime:
        """Return the last moment at which a forecast from the day could have been served, at most now."""
        first, offset = close_of(day) + SETTLED_AFTER, self._with.clock_offset()
        if offset is None:
            return first
        now = datetime.fromtimestamp(self._with.monotonic() + offset, UTC) - CLOCK_ERROR
        return max(first, min(first + SERVED_FOR, now))

    async def _predict(
        self,
        query: ForecastQuery,
        snapshot: Snapshot,
        attempts: Sequence[Attempt],
        panel: Mapping[str, Candles],
    ) -> Mapping[str, Prediction]:
        limit = self._with.step_timeout_seconds
        chain = FallbackChain(
            PastFeatures(self._worker, panel, limit),
            step_timeout_seconds=limit,
            remaining_seconds=self._with.remaining_seconds,
            cache_scope=CACHE_SCOPE,
        )
        return await chain.run(
            snapshot, attempts, vs_currency=query.vs_currency, client_key="", days=query.days
        )

    def _render(
        self,
        query: ForecastQuery,
        predictions: Mapping[str, Prediction],
        histories: Mapping[str, History],
        day: date,
    ) -> dict[str, CoinForecast]:
        reasons = degraded_reasons(predictions, histories, ())
        for coin, prediction in predictions.items():
            last = prediction.ref.prepared.as_of
            if last < day:
                late = f"no candle of {coin} after {last} had come before the day after {day} closed"
                reasons[coin] = "; ".join(part for part in (reasons[coin], late) if part)
        rendered = self._with.renderer.render(predictions, reasons, {}, query.options)
        return {
            coin: replace(forecast, forecast_id="", reconstructed=True) for coin, forecast in rendered.items()
        }

    def _provenance(self, history: History) -> Provenance:
        """Return where a history comes from; its age counts to now, not to the past day."""
        return replace(history.provenance, clock_offset_seconds=self._with.clock_offset())


def _models_of(model: str) -> tuple[str, ...]:
    chain = TRAINED_MODELS if model == AUTO else FALLBACK_CHAINS[model]
    return tuple(name for name in chain if name not in (TECHNICAL, LAST_PRICE))


def _attempt(snapshot: Snapshot, query: ForecastQuery, candles: Candles) -> Attempt:
    """Return the coin with the model that is to answer. Raises as ForecastService's."""
    model, failures = query.model, list[StepFailure]()
    if model == AUTO:
        model = selection.select_model(snapshot, LiveScores(), candles.coin_id, query.days, len(candles))
        if model == TECHNICAL:
            failures.append(NO_MODEL)
    check_horizon(snapshot, model, query.days)
    if query.model != AUTO:
        check_history(snapshot, model, candles.coin_id, len(candles))
    return Attempt(candles, model, failures)


def _plain(error: CoincastError, day: date) -> CoincastError:
    """Return an error in terms of this service's request."""
    if isinstance(error, InvalidInput) and error.field == "known_at":
        return InvalidInput(f"{day} has not closed yet: give a closed UTC day", field="as_of")
    return error
