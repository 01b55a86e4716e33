"""Forecasts of past days and hours, made from what was known while they were the newest closed ones.

Candles are those that were stored before the next day (or hour) had closed, versions those that learnt from
no later day, and `auto` selects without live scores, which are of later days. Such forecasts are not logged,
since they were not served then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from coincast_chassis.errors import CoincastError, InvalidInput
from coincast_forecast.domain import (
    AUTO,
    LAST_PRICE,
    TECHNICAL,
    TRAINED_MODELS,
    ForecastQuery,
    LiveScores,
    Provenance,
    ServedForecast,
    last_close_before,
)
from coincast_forecast.fallback.executor import Attempt, FallbackChain, Prediction
from coincast_forecast.fallback.policy import FALLBACK_CHAINS, Cause, StepFailure
from coincast_forecast.features.cache import Outcome
from coincast_forecast.hourly.past import PastHours, SourceClock, not_closed
from coincast_forecast.inference.thread import ThreadStuckError, WorkerThread
from coincast_forecast.metrics import Metrics
from coincast_forecast.ports import History, PastHistorySource
from coincast_forecast.registry import selection
from coincast_forecast.registry.deployment import Snapshot, any_reads_hours
from coincast_forecast.registry.historical import HistoricalVersions
from coincast_forecast.rendering.service import ForecastRenderer
from coincast_forecast.service import (
    NO_MODEL,
    ForecastResponse,
    PredictedCoins,
    check_history,
    check_horizon,
    degraded_reasons,
)
from coincast_modelkit.candles import Candles
from coincast_modelkit.features import REFERENCE_COINS, FeatureSpec, Market
from coincast_modelkit.hourly.day_measures import DayRow
from coincast_modelkit.model_input import ModelInput, prepare

CACHE_SCOPE = "@past"
# The last point of a day comes some minutes after its close. Market-data counts the day from this long
# after it, which is the moment from which the day's forecast could be served.
SETTLED_AFTER = timedelta(minutes=35)
# A day's forecast is served until the next day has closed: data that arrived by then was known.
SERVED_FOR = timedelta(days=1) - timedelta(seconds=1)


class PastFeatures:
    """Model inputs of one request, with the market features of that day."""

    def __init__(
        self,
        worker: WorkerThread,
        panel: Mapping[str, Candles],
        limit_seconds: float,
        rows: Mapping[str, DayRow],
    ) -> None:
        """Store the candles of the reference coins, and what the hours of the day tell of each coin."""
        self._worker = worker
        self._rows = rows
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
            row = self._rows.get(candles.coin_id) if spec.names else None
            made = prepare(candles, self._market, spec, row)
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
        clock: Estimates the data source's time.
        remaining_seconds: What is left of the request's time.
        history_days: How many days of history a forecast uses.
        step_timeout_seconds: How long a step may take.
        hours: Moves forecasts to an hour within the day; without it they start from the last close.
    """

    source: PastHistorySource
    versions: HistoricalVersions
    renderer: ForecastRenderer
    metrics: Metrics
    clock: SourceClock
    remaining_seconds: Callable[[], float | None]
    history_days: int
    step_timeout_seconds: float
    hours: PastHours | None = None


class PointInTimeService:
    """Makes the forecast that a past moment could have had."""

    def __init__(self, dependencies: PastDependencies) -> None:
        self._with = dependencies
        self._worker = WorkerThread("past-features")

    def stop(self) -> None:
        """Let the thread end."""
        self._worker.stop()

    async def forecast(self, query: ForecastQuery, as_of: datetime) -> ForecastResponse:
        """Return a forecast or an error for every coin of the query.

        Args:
            query: The coins, days and model.
            as_of: A full UTC hour: a daily close, or an hour within the day, from which the forecast of the
                last close is then moved to the newest hour that was known.
        """
        past = await self.predict(query, as_of)
        predictions = dict(past.predictions)
        if predictions and as_of != last_close_before(as_of) and self._with.hours is not None:
            predictions = await self._with.hours.move(predictions, query.vs_currency, as_of)
        rendered = self._with.renderer.render(predictions, past.reasons, {}, query.options)
        forecasts = {
            coin: replace(forecast, forecast_id="", reconstructed=True) for coin, forecast in rendered.items()
        }
        for coin in query.ids:
            if coin in past.errors:
                self._with.metrics.coin_error(past.errors[coin].kind)
        return ForecastResponse(
            tuple(
                ServedForecast(forecasts[coin], self._provenance(past.histories[coin]))
                for coin in query.ids
                if coin in forecasts
            ),
            tuple((coin, past.errors[coin]) for coin in query.ids if coin in past.errors),
        )

    async def predict(self, query: ForecastQuery, as_of: datetime) -> PredictedCoins:
        """Return predictions of the last close before `as_of`, from what was known then."""
        day = last_close_before(as_of).date() - timedelta(days=1)
        found = await self._with.source.fetch(
            list(dict.fromkeys((*query.ids, *REFERENCE_COINS))),
            query.vs_currency,
            self._with.history_days,
            self._known_at(as_of),
        )
        errors = {
            coin: _plain(error, as_of)
            for coin in query.ids
            if isinstance(error := found.get(coin), CoincastError)
        }
        histories = {coin: h for coin in query.ids if isinstance(h := found.get(coin), History)}
        references = {coin: h for coin in REFERENCE_COINS if isinstance(h := found.get(coin), History)}
        snapshot = await self._with.versions.snapshot_of(_models_of(query.model), day)
        attempts: list[Attempt] = []
        for history in histories.values():
            try:
                attempts.append(_attempt(snapshot, query, history.candles))
            except CoincastError as error:
                errors[history.candles.coin_id] = error
        panel = {coin: history.candles for coin, history in references.items()}
        rows: Mapping[str, DayRow] = {}
        if self._with.hours is not None and any_reads_hours(snapshot):
            rows = await self._with.hours.rows(list(histories), query.vs_currency, as_of)
        limit = self._with.step_timeout_seconds
        features = PastFeatures(self._worker, panel, limit, rows)
        predictions = await self._predict(query, snapshot, attempts, features)
        return PredictedCoins(
            predictions=predictions,
            histories=histories,
            references=references,
            reasons=_reasons(predictions, histories, day),
            errors=errors,
            snapshot=snapshot,
        )

    def _known_at(self, as_of: datetime) -> datetime:
        """Return the last moment at which a forecast from `as_of` could have been served, at most now."""
        if as_of == last_close_before(as_of):
            return self._with.clock.known_at(as_of + SETTLED_AFTER, SERVED_FOR)
        return self._with.clock.hours_known_at(as_of)

    async def _predict(
        self,
        query: ForecastQuery,
        snapshot: Snapshot,
        attempts: Sequence[Attempt],
        features: PastFeatures,
    ) -> Mapping[str, Prediction]:
        chain = FallbackChain(
            features,
            step_timeout_seconds=self._with.step_timeout_seconds,
            remaining_seconds=self._with.remaining_seconds,
            cache_scope=CACHE_SCOPE,
        )
        return await chain.run(
            snapshot, attempts, vs_currency=query.vs_currency, client_key="", days=query.days
        )

    def _provenance(self, history: History) -> Provenance:
        """Return where a history comes from; its age counts to now, not to the past day."""
        return replace(history.provenance, clock_offset_seconds=self._with.clock.offset_seconds)


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


def _reasons(
    predictions: Mapping[str, Prediction], histories: Mapping[str, History], day: date
) -> dict[str, str]:
    """Return why each forecast is degraded; one whose last candle is older than the day says so."""
    reasons = degraded_reasons(predictions, histories, ())
    for coin, prediction in predictions.items():
        last = prediction.ref.prepared.as_of
        if last < day:
            late = f"no candle of {coin} after {last} had come before the day after {day} closed"
            reasons[coin] = "; ".join(part for part in (reasons[coin], late) if part)
    return reasons


def _plain(error: CoincastError, as_of: datetime) -> CoincastError:
    """Return an error in terms of this service's request."""
    if not isinstance(error, InvalidInput) or error.field != "known_at":
        return error
    if as_of != last_close_before(as_of):
        return not_closed(as_of)
    day = as_of.date() - timedelta(days=1)
    return InvalidInput(f"{day} has not closed yet: give a closed UTC day", field="as_of")
