"""The forecast service, free of gRPC: histories, fallback chain, rendering and forecast log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from coincast_chassis.clock import Clock
from coincast_chassis.errors import CoincastError, InvalidInput, NotFound, NotReady
from coincast_forecast import metrics
from coincast_forecast.domain import (
    AUTO,
    TECHNICAL,
    Cause,
    CoinForecast,
    ForecastQuery,
    History,
    LiveScores,
    ServedForecast,
    StepFailure,
    partial_error,
)
from coincast_forecast.fallback.executor import Attempt, FallbackChain, Prediction
from coincast_forecast.features.cache import FeatureCache
from coincast_forecast.history.cache import HistoryCache
from coincast_forecast.hourly.within_day import (
    NO_ORIGIN,
    Origin,
    Shifted,
    WithinDay,
    within_day_loggable,
)
from coincast_forecast.prediction_log.recorder import Recorder
from coincast_forecast.registry import selection
from coincast_forecast.registry.deployment import DeploymentSource, LiveVersion, Snapshot
from coincast_forecast.registry.live_records import LatestRecord
from coincast_forecast.rendering.service import Explainer, Explanation, ForecastRenderer
from coincast_forecast.response_cache import CacheGeneration, Key, ResponseCache, cache_key_of
from coincast_forecast.shadow_traffic import ShadowTraffic
from coincast_modelkit.features import REFERENCE_COINS

NO_MODEL = StepFailure(Cause.NOT_LOADED, "no trained model that can serve this is in production yet")


@dataclass(frozen=True, slots=True)
class ForecastResponse:
    """The forecasts and the errors of a query, each in the order of its ids."""

    forecasts: tuple[ServedForecast, ...]
    errors: tuple[tuple[str, CoincastError], ...]


@dataclass(frozen=True, slots=True)
class PredictedCoins:
    """Predictions, histories and reasons of degradation by coin, and the errors of the other coins."""

    predictions: Mapping[str, Prediction]
    histories: Mapping[str, History]
    references: Mapping[str, History]
    reasons: Mapping[str, str]
    errors: Mapping[str, CoincastError]
    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class _Histories:
    """Histories or errors by coin; `market_gaps` describes which data the market features lack."""

    coins: Mapping[str, History | CoincastError]
    market_gaps: tuple[str, ...]
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Dependencies:
    """The collaborators of the service."""

    histories: HistoryCache
    features: FeatureCache
    fallback_chain: FallbackChain
    renderer: ForecastRenderer
    explainer: Explainer
    recorder: Recorder
    shadow_traffic: ShadowTraffic
    response_cache: ResponseCache
    deployments: DeploymentSource
    scores: LatestRecord[LiveScores]
    clock: Clock
    # Updates daily forecasts to the newest hour; None lets them start from the last daily close.
    within_day: WithinDay | None = None


class ForecastService:
    """Computes forecasts of many coins, with one snapshot of model versions per query."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._with = dependencies

    async def forecast(self, query: ForecastQuery) -> ForecastResponse:
        """Return a forecast or an error for every coin of the query."""
        generation = CacheGeneration(self._with.deployments.snapshot, self._with.scores.current)
        cache_key = cache_key_of(query, generation.snapshot)
        served = self._cached(query, cache_key, generation)
        errors: dict[str, CoincastError] = {}
        missing = [coin for coin in query.ids if coin not in served]
        if missing:
            if self._with.within_day is not None:
                self._with.within_day.prefetch(missing, query.vs_currency)
            found = await self._find_histories(missing, query.vs_currency)
            errors = {coin: e for coin in missing if isinstance(e := found.coins[coin], CoincastError)}
            histories = {coin: h for coin in missing if isinstance(h := found.coins[coin], History)}
            made = await self._make(query, generation, histories, found.market_gaps, errors)
            for coin, (one, origin) in made.items():
                served[coin] = one
                if found.is_whole and _is_complete(query, one.forecast):
                    self._with.response_cache.put(cache_key, generation, histories[coin], one, origin)
        for error in errors.values():
            metrics.COIN_ERRORS.labels(error.kind).inc()
        return ForecastResponse(
            tuple(served[coin] for coin in query.ids if coin in served),
            tuple((coin, errors[coin]) for coin in query.ids if coin in errors),
        )

    def _cached(
        self, query: ForecastQuery, cache_key: Key, generation: CacheGeneration
    ) -> dict[str, ServedForecast]:
        """Return the forecasts that are in the response cache."""
        served: dict[str, ServedForecast] = {}
        for coin in query.ids:
            history = self._with.histories.peek(coin, query.vs_currency)
            origin = self._origin(coin, query.vs_currency)
            hit = history and self._with.response_cache.get(cache_key, coin, generation, history, origin)
            if hit:
                served[coin] = hit
        self._with.histories.count_hits(len(served))
        _count_cached(served.values())
        return served

    def _origin(self, coin_id: str, vs_currency: str) -> Origin | None:
        """Return the hours and version of the newest hour; None if forecasts start from daily closes."""
        return None if self._with.within_day is None else self._with.within_day.origin(coin_id, vs_currency)

    async def _make(
        self,
        query: ForecastQuery,
        generation: CacheGeneration,
        histories: Mapping[str, History],
        market_gaps: tuple[str, ...],
        errors: dict[str, CoincastError],
    ) -> dict[str, tuple[ServedForecast, Origin | None]]:
        """Return forecasts of coins that are not cached, with the hours from which they start.

        Errors of coins that cannot be served are added to `errors`. Besides the forecast that was updated to
        the newest hour, the forecast of the last close is logged: comparisons of versions and the live record
        of daily forecasts use it.
        """
        snapshot = generation.snapshot
        predictions = await self._predict(query, generation, histories, errors)
        reasons = degraded_reasons(predictions, histories, market_gaps)
        explanations = await self._explain(query, predictions.values())
        moved = await self._move(predictions, query.vs_currency)
        shown = {coin: one.prediction for coin, one in moved.items()}
        forecasts = self._with.renderer.render(shown, reasons, explanations, query.options)
        logged = await self._with.recorder.record(list(predictions.values()), query.days)
        logged |= await self._record_moved(moved.values(), query.days)
        self._with.shadow_traffic.submit(snapshot, query.days, predictions.values())
        _count(predictions, histories)
        return {
            coin: (
                ServedForecast(
                    forecast if forecast.forecast_id in logged else replace(forecast, forecast_id=""),
                    histories[coin].provenance,
                ),
                moved[coin].origin,
            )
            for coin, forecast in forecasts.items()
        }

    async def _move(self, predictions: Mapping[str, Prediction], vs_currency: str) -> Mapping[str, Shifted]:
        """Update the predictions to the newest hour; without `within_day` return them unchanged."""
        if self._with.within_day is None:
            return {coin: Shifted(p, NO_ORIGIN) for coin, p in predictions.items()}
        return await self._with.within_day.move(predictions, vs_currency)

    async def from_newest_hour(
        self, predictions: Mapping[str, Prediction], vs_currency: str
    ) -> tuple[Mapping[str, Prediction], str]:
        """Return predictions that all start from one hour of the day, or none and the reason.

        A joint simulation needs one start for all its coins.

        Args:
            predictions: Predictions of the last close.
            vs_currency: The currency of the prices.
        """
        moved = await self._move(predictions, vs_currency)
        return with_common_start({coin: one.prediction for coin, one in moved.items()})

    async def _record_moved(self, moved: Iterable[Shifted], days: int) -> set[str]:
        made_at = self._with.clock.now()
        loggable = [within_day_loggable(one, made_at) for one in moved if one.prediction.start.hours]
        return await self._with.recorder.append(loggable, days) if loggable else set()

    async def predict(self, query: ForecastQuery) -> PredictedCoins:
        """Return predictions and the histories that they use, without rendering or logging them."""
        generation = CacheGeneration(self._with.deployments.snapshot, self._with.scores.current)
        found = await self._find_histories(query.ids, query.vs_currency)
        errors = {coin: e for coin in query.ids if isinstance(e := found.coins[coin], CoincastError)}
        histories = {coin: h for coin in query.ids if isinstance(h := found.coins[coin], History)}
        predictions = await self._predict(query, generation, histories, errors)
        return PredictedCoins(
            predictions={coin: predictions[coin] for coin in query.ids if coin in predictions},
            histories=histories,
            references={
                coin: h
                for coin in REFERENCE_COINS
                if isinstance(h := found.coins[coin], History) and not h.from_sparkline
            },
            reasons=degraded_reasons(predictions, histories, found.market_gaps),
            errors=errors,
            snapshot=generation.snapshot,
        )

    async def _predict(
        self,
        query: ForecastQuery,
        generation: CacheGeneration,
        histories: Mapping[str, History],
        errors: dict[str, CoincastError],
    ) -> dict[str, Prediction]:
        attempts = self._attempts(generation, query, histories, errors)
        return await self._with.fallback_chain.run(
            generation.snapshot,
            list(attempts.values()),
            vs_currency=query.vs_currency,
            client_key=query.client_key,
            days=query.days,
        )

    async def _find_histories(self, ids: Sequence[str], vs_currency: str) -> _Histories:
        """Return the coins' histories, and update the market features from the reference coins."""
        found = await self._with.histories.get(ids, vs_currency, references=REFERENCE_COINS)
        panel = {coin: h.candles for coin in REFERENCE_COINS if isinstance(h := found[coin], History)}
        await self._with.features.set_reference(vs_currency, panel)
        gaps = _market_gaps({coin: found[coin] for coin in REFERENCE_COINS})
        return _Histories(found, gaps, is_whole=len(panel) == len(REFERENCE_COINS) and not gaps)

    def _attempts(
        self,
        generation: CacheGeneration,
        query: ForecastQuery,
        histories: Mapping[str, History],
        errors: dict[str, CoincastError],
    ) -> dict[str, Attempt]:
        attempts: dict[str, Attempt] = {}
        for coin, history in histories.items():
            try:
                attempts[coin] = self._attempt(generation, query, history)
            except CoincastError as error:
                errors[coin] = error
        return attempts

    def _attempt(self, generation: CacheGeneration, query: ForecastQuery, history: History) -> Attempt:
        """Return the attempt for a coin, with the model that should answer.

        `auto` answers for every coin with a price: if no model can, the fallback chain ends at the naive
        forecast and the reply says why.

        Raises:
            InvalidInput: The horizon is too long for the model.
            NotReady: The coin's history is too short for the explicitly requested model.
            Unavailable: The history is too short for the model because it is still incomplete.
        """
        snapshot, candles, failures = generation.snapshot, history.candles, list[StepFailure]()
        if history.from_sparkline:
            raise partial_error(candles.coin_id, history.partial_reason, history.retry_after_seconds)
        model = query.model
        if model == AUTO:
            model = selection.select_model(
                snapshot, generation.scores, candles.coin_id, query.days, len(candles)
            )
            if model == TECHNICAL:
                failures.append(NO_MODEL)
        check_horizon(snapshot, model, query.days)
        try:
            check_history(snapshot, model, candles.coin_id, len(candles))
        except NotReady as error:
            if history.partial_reason:
                coin, seconds = candles.coin_id, history.retry_after_seconds
                raise partial_error(coin, history.partial_reason, seconds) from error
            if query.model != AUTO:
                raise
        return Attempt(candles, model, failures)

    async def _explain(
        self, query: ForecastQuery, predictions: Collection[Prediction]
    ) -> Mapping[str, Explanation]:
        if not query.attribution_features:
            return {}
        return await self._with.explainer.explain(predictions, query.days, query.attribution_features)


def check_horizon(snapshot: Snapshot, model: str, days: int) -> None:
    """Raise InvalidInput if the horizon is too long for the model."""
    able = _serving_version(snapshot, model).predictor.model
    if days > able.max_horizon_days:
        raise InvalidInput(f"{model} forecasts up to {able.max_horizon_days} days, not {days}", field="days")


def check_history(snapshot: Snapshot, model: str, coin_id: str, history_days: int) -> None:
    """Raise NotReady if the coin's history is too short for the model."""
    version = _serving_version(snapshot, model)
    needed = version.predictor.model.min_history_days
    if history_days < needed:
        raise NotReady(
            f"{coin_id} has {history_days} closed days of history and {version.model} needs {needed}: "
            "request model=auto",
            field="ids",
        )


def data_reasons(history: History, prediction: Prediction, market_gaps: Sequence[str]) -> tuple[str, ...]:
    """Return a clause for each defect of the data of a forecast; empty without defects.

    A cause that makes a history stale, partial and unconfirmed at the same time is named only once.
    """
    reasons = []
    coin = prediction.candles.coin_id
    named = (history.partial_reason, history.doubt_reason)
    if history.provenance.stale and (not history.provenance.reason or history.provenance.reason not in named):
        reasons.append(history.provenance.reason or "the history is older than its fresh window")
    if history.ranges_pending:
        reasons.append(f"the history of {coin} has all closes, and {history.partial_reason}")
    elif history.partial_reason and history.partial_reason != history.doubt_reason:
        days = len(history.candles)
        reasons.append(
            f"only {days} days of the history of {coin} are available so far: {history.partial_reason}"
        )
    if history.doubt_reason:
        reasons.append(f"the history of {coin} is not confirmed: {history.doubt_reason}")
    uses_market = prediction.version is not None and prediction.version.predictor.model.spec.names
    if uses_market:
        reasons += market_gaps
    return tuple(reasons)


def with_common_start(moved: Mapping[str, Prediction]) -> tuple[Mapping[str, Prediction], str]:
    """Return the predictions if all start from one hour of the day, otherwise none and the reason.

    Args:
        moved: Predictions that were updated to the newest hour where that was possible.
    """
    at_close = {coin: one.start.reason for coin, one in moved.items() if not one.start.hours}
    if at_close:
        return {}, next((reason for reason in at_close.values() if reason), "")
    if len({(one.ref.prepared.as_of, one.start.hours) for one in moved.values()}) > 1:
        return {}, "the newest hours of the coins end at different times"
    return moved, ""


def degraded_reasons(
    predictions: Mapping[str, Prediction],
    histories: Mapping[str, History],
    market_gaps: Sequence[str],
) -> dict[str, str]:
    """Return the reasons why each coin's forecast is degraded, joined by semicolons; empty without any."""
    return {
        coin: "; ".join(
            part.removesuffix(".")
            for part in (
                prediction.failure_sentence,
                *data_reasons(histories[coin], prediction, market_gaps),
            )
            if part
        )
        for coin, prediction in predictions.items()
    }


def _serving_version(snapshot: Snapshot, model: str) -> LiveVersion:
    deployment = snapshot.get(model) or snapshot[TECHNICAL]
    version = deployment.production or snapshot[TECHNICAL].production
    assert version is not None  # noqa: S101 - technical needs no artifact
    return version


def _market_gaps(references: Mapping[str, History | CoincastError]) -> tuple[str, ...]:
    """Return a clause for each temporary gap in the data of the market features.

    A reference coin that the source does not have at all is not a gap.
    """
    weeks: list[str] = []
    missing: list[str] = []
    closes: list[str] = []
    for coin, found in references.items():
        if isinstance(found, History) and found.from_sparkline:
            weeks.append(coin)
        elif isinstance(found, History):
            if found.partial_reason:
                (closes if found.ranges_pending else missing).append(coin)
        elif not isinstance(found, NotFound):
            missing.append(coin)
    gaps = []
    if missing:
        names = ", ".join(missing)
        gaps.append(f"the market features lack the histories of {names}, which have not arrived yet")
    if weeks:
        names = ", ".join(weeks)
        gaps.append(
            f"the market features use only the last week of {names}, whose histories have not arrived yet"
        )
    if closes:
        names = ", ".join(closes)
        gaps.append(f"the market features lack highs and lows of {names}, which are not here yet")
    return tuple(gaps)


def _is_complete(query: ForecastQuery, forecast: CoinForecast) -> bool:
    """Return whether a forecast is complete, so that it may be cached."""
    explained = bool(forecast.attributions) or not query.attribution_features
    return explained and not forecast.degraded and forecast.forecast_id != ""


def _count(predictions: Mapping[str, Prediction], histories: Mapping[str, History]) -> None:
    for coin, prediction in predictions.items():
        metrics.SERVED.labels(prediction.model, prediction.served_by).inc()
        causes = [failure.cause for failure in prediction.failures]
        history = histories[coin]
        if history.provenance.stale:
            causes.append(Cause.STALE_HISTORY)
        if history.partial_reason:
            causes.append(Cause.PARTIAL_HISTORY)
        if history.doubt_reason:
            causes.append(Cause.UNCONFIRMED_HISTORY)
        for cause in causes:
            metrics.DEGRADED.labels(prediction.model, cause).inc()


def _count_cached(served: Iterable[ServedForecast]) -> None:
    counts = Counter((one.forecast.model, one.forecast.served_by) for one in served)
    for (model, served_by), coins in counts.items():
        metrics.SERVED.labels(model, served_by).inc(coins)
