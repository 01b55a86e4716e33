"""Forecasts from past days and hours, with the data known while that day or hour was the newest closed one.

The candles are those stored before the next day (or hour) had closed, and the versions were trained on no
later day. `auto` selects without live scores, since those include later days. Such forecasts are not logged,
since they were not served then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from coincast_chassis.errors import CoincastError, InvalidInput
from coincast_forecast import metrics
from coincast_forecast.domain import (
    AUTO,
    LAST_PRICE,
    TECHNICAL,
    TRAINED_MODELS,
    Cause,
    ForecastQuery,
    History,
    LiveScores,
    Provenance,
    ServedForecast,
    StepFailure,
    last_close_before,
)
from coincast_forecast.fallback.executor import FALLBACK_CHAINS, Attempt, FallbackChain, Prediction
from coincast_forecast.features.cache import Outcome
from coincast_forecast.hourly.past import PastHours, SourceClock, not_closed
from coincast_forecast.inference.thread import ThreadStuckError, WorkerThread
from coincast_forecast.ports import PastHistorySource
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
    with_common_start,
)
from coincast_modelkit.candles import Candles
from coincast_modelkit.features import REFERENCE_COINS, FeatureSpec, Market
from coincast_modelkit.hourly.day_measures import DayRow
from coincast_modelkit.model_input import ModelInput, prepare

CACHE_SCOPE = "@past"
# The last point of a day arrives some minutes after its close. Market-data treats the day as closed after
# this time, from which on the day's forecast could be served.
SETTLED_AFTER = timedelta(minutes=35)
# A day's forecast is served until the next day has closed, so data that arrived by then were known.
SERVED_FOR = timedelta(days=1) - timedelta(seconds=1)


class PastFeatures:
    """Computes the model inputs of one request, with the market features of the past day."""

    def __init__(
        self,
        worker: WorkerThread,
        panel: Mapping[str, Candles],
        limit_seconds: float,
        rows: Mapping[str, DayRow],
    ) -> None:
        """Store the inputs.

        Args:
            worker: Thread that computes features.
            panel: Candles of the reference coins.
            limit_seconds: Time limit for the features of one batch.
            rows: Terms of the hours of the last closed day by coin.
        """
        self._worker = worker
        self._rows = rows
        self._panel = panel
        self._limit_seconds = limit_seconds
        self._market: Market | None = None
        self._inputs: dict[tuple[str, str], ModelInput] = {}

    def cached(
        self, candles: Candles, vs_currency: str, spec: FeatureSpec, *, reads_hours: bool = False
    ) -> ModelInput | None:
        """Return the input of a coin if it was computed, or None."""
        return self._inputs.get((candles.coin_id, spec.hash))

    async def prepare(
        self, candles: Sequence[Candles], vs_currency: str, spec: FeatureSpec, *, reads_hours: bool = False
    ) -> Mapping[str, Outcome]:
        """Return each coin's model input, or the failure of its computation.

        The hours of the day are known, so that they are part of every input with features.
        """
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
        except Exception as error:  # an error in one coin's features is a failed step of that coin
            sentence = f"the features of {candles.coin_id} failed ({type(error).__name__})"
            return StepFailure(Cause.RAISED, sentence)
        self._inputs[candles.coin_id, spec.hash] = made
        return made


@dataclass(frozen=True, slots=True)
class PastDependencies:
    """The collaborators of the service.

    Attributes:
        source: Histories as they were known at a past time.
        versions: Versions that were trained on no later day.
        renderer: Renders predictions.
        clock: Estimates the data source's time.
        remaining_seconds: Returns the seconds left until the request's deadline.
        history_days: Number of days of history that a forecast uses.
        step_timeout_seconds: Time limit of a step.
        hours: Updates forecasts to an hour within the day; None lets them start from the last close.
    """

    source: PastHistorySource
    versions: HistoricalVersions
    renderer: ForecastRenderer
    clock: SourceClock
    remaining_seconds: Callable[[], float | None]
    history_days: int
    step_timeout_seconds: float
    hours: PastHours | None = None


class PointInTimeService:
    """Computes forecasts as they could have been made at a past time."""

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
            as_of: A full UTC hour. At a daily close the forecast starts from the close; within a day the
                forecast of the last close is updated to the newest hour that was known.
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
                metrics.COIN_ERRORS.labels(past.errors[coin].kind).inc()
        return ForecastResponse(
            tuple(
                ServedForecast(forecasts[coin], self._provenance(past.histories[coin]))
                for coin in query.ids
                if coin in forecasts
            ),
            tuple((coin, past.errors[coin]) for coin in query.ids if coin in past.errors),
        )

    async def predict(self, query: ForecastQuery, as_of: datetime) -> PredictedCoins:
        """Return predictions from the last close before `as_of`, with the data known then."""
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

    async def from_newest_hour(
        self, predictions: Mapping[str, Prediction], vs_currency: str, as_of: datetime
    ) -> tuple[Mapping[str, Prediction], str]:
        """Return predictions that all start from the hour that ends at `as_of`, or none and the reason.

        At a daily close there is no such hour, and no reason.
        """
        if as_of == last_close_before(as_of) or self._with.hours is None:
            return {}, ""
        return with_common_start(await self._with.hours.move(predictions, vs_currency, as_of))

    def _known_at(self, as_of: datetime) -> datetime:
        """Return the last time at which a forecast from `as_of` could have been served, at most now."""
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
        """Return the provenance of a history; its age is that of now, not of the past day."""
        return replace(history.provenance, clock_offset_seconds=self._with.clock.offset_seconds)


def _models_of(model: str) -> tuple[str, ...]:
    chain = TRAINED_MODELS if model == AUTO else FALLBACK_CHAINS[model]
    return tuple(name for name in chain if name not in (TECHNICAL, LAST_PRICE))


def _attempt(snapshot: Snapshot, query: ForecastQuery, candles: Candles) -> Attempt:
    """Return the attempt for a coin with its model. Raises the same errors as ForecastService."""
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
    """Return the reasons of degraded forecasts; a last candle older than the day is one of them."""
    reasons = degraded_reasons(predictions, histories, ())
    for coin, prediction in predictions.items():
        last = prediction.ref.prepared.as_of
        if last < day:
            late = f"no candle of {coin} after {last} had arrived before the day after {day} closed"
            reasons[coin] = "; ".join(part for part in (reasons[coin], late) if part)
    return reasons


def _plain(error: CoincastError, as_of: datetime) -> CoincastError:
    """Convert market-data's error about `known_at` to one about `as_of`; return other errors unchanged."""
    if not isinstance(error, InvalidInput) or error.field != "known_at":
        return error
    if as_of != last_close_before(as_of):
        return not_closed(as_of)
    day = as_of.date() - timedelta(days=1)
    return InvalidInput(f"{day} has not closed yet: give a closed UTC day", field="as_of")
