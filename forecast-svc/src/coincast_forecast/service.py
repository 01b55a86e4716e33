"""Answers a query: histories, model and variant per coin, the ladder, what is shown, the ledger."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from coincast_chassis.errors import CoincastError, InvalidInput, NotReady
from coincast_forecast.domain import AUTO, TECHNICAL, CoinForecast, ForecastQuery, LiveScores, ServedForecast
from coincast_forecast.fallback.executor import Attempt, FallbackChain, Prediction
from coincast_forecast.fallback.policy import Cause, StepFailure
from coincast_forecast.features.cache import FeatureCache
from coincast_forecast.history.cache import HistoryCache
from coincast_forecast.metrics import Metrics
from coincast_forecast.ports import History
from coincast_forecast.prediction_log.recorder import LogRecord, Recorder
from coincast_forecast.registry import selection
from coincast_forecast.registry.deployment import Snapshot
from coincast_forecast.rendering.explainer import NO_EXPLANATION, Explainer, Explanation
from coincast_forecast.rendering.service import ForecastRenderer, RenderItem
from coincast_forecast.response_cache import CacheGeneration, Key, ResponseCache, cache_key_of
from coincast_forecast.shadow_traffic import ShadowTraffic
from coincast_modelkit.features import REFERENCE_COINS

NO_MODEL = StepFailure(Cause.NOT_LOADED, "no trained model that can serve this is in production yet")


@dataclass(frozen=True, slots=True)
class ForecastResponse:
    """What could be served, and why the rest could not, in the order asked."""

    forecasts: tuple[ServedForecast, ...]
    errors: tuple[tuple[str, CoincastError], ...]


@dataclass(frozen=True, slots=True)
class _Found:
    """HistoryCache or errors by coin, and whether every reference coin was among them."""

    coins: Mapping[str, History | CoincastError]
    whole: bool


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What the service is made of."""

    histories: HistoryCache
    preparation: FeatureCache
    ladder: FallbackChain
    presenter: ForecastRenderer
    explanations: Explainer
    recorder: Recorder
    shadow_traffic: ShadowTraffic
    warm: ResponseCache
    metrics: Metrics
    snapshot: Callable[[], Snapshot]
    scores: Callable[[], LiveScores]


class ForecastService:
    """The service itself; free of gRPC."""

    def __init__(self, parts: Dependencies) -> None:
        self._parts = parts

    async def forecast(self, query: ForecastQuery) -> ForecastResponse:
        """Forecast every coin of the query. One snapshot of versions serves the whole of it."""
        standing = CacheGeneration(self._parts.snapshot(), self._parts.scores())
        question = cache_key_of(query, standing.snapshot)
        served = self._warm(query, question, standing)
        errors: dict[str, CoincastError] = {}
        cold = [coin for coin in query.ids if coin not in served]
        if cold:
            found = await self._find_histories(cold, query.vs_currency)
            errors = {coin: e for coin in cold if isinstance(e := found.coins[coin], CoincastError)}
            histories = {coin: h for coin in cold if isinstance(h := found.coins[coin], History)}
            for coin, one in (await self._make(query, standing, histories, errors)).items():
                served[coin] = one
                if found.whole and _complete(query, one.forecast):
                    self._parts.warm.put(question, standing, histories[coin], one)
        self._count_errors(errors.values())
        return ForecastResponse(
            tuple(served[coin] for coin in query.ids if coin in served),
            tuple((coin, errors[coin]) for coin in query.ids if coin in errors),
        )

    def _warm(
        self, query: ForecastQuery, question: Key, standing: CacheGeneration
    ) -> dict[str, ServedForecast]:
        """The answers that are at hand, whole."""
        served: dict[str, ServedForecast] = {}
        for coin in query.ids:
            history = self._parts.histories.peek(coin, query.vs_currency)
            answer = history and self._parts.warm.get(question, coin, standing, history)
            if answer:
                served[coin] = answer
        self._parts.histories.count_hits(len(served))
        self._count_warm(served.values())
        return served

    async def _make(
        self,
        query: ForecastQuery,
        standing: CacheGeneration,
        histories: Mapping[str, History],
        errors: dict[str, CoincastError],
    ) -> dict[str, ServedForecast]:
        """Forecasts of coins whose answer is not at hand; `errors` gains those that cannot be served."""
        snapshot = standing.snapshot
        climbers = self._climbers(standing, query, histories, errors)
        answers = await self._parts.ladder.run(
            snapshot, list(climbers.values()), query.vs_currency, query.client_key, query.days
        )
        items = await self._items(query, climbers, answers, histories)
        shown = self._parts.presenter.show(items, query.vs_currency, query.shape)
        safe = await self._record(query, items, shown)
        self._parts.shadow_traffic.submit(snapshot, query.vs_currency, query.days, answers.values())
        self._count(items.values())
        return {
            coin: ServedForecast(
                forecast if forecast.forecast_id in safe else _unrecorded(forecast), items[coin].provenance
            )
            for coin, forecast in shown.items()
        }

    async def _find_histories(self, ids: Sequence[str], vs_currency: str) -> _Found:
        """The coins' histories; the reference coins come along, since features are taken against them."""
        found = await self._parts.histories.get(dict.fromkeys((*ids, *REFERENCE_COINS)), vs_currency)
        panel = {coin: h.candles for coin in REFERENCE_COINS if isinstance(h := found[coin], History)}
        await self._parts.preparation.set_reference(vs_currency, panel)
        return _Found(found, whole=len(panel) == len(REFERENCE_COINS))

    def _climbers(
        self,
        standing: CacheGeneration,
        query: ForecastQuery,
        histories: Mapping[str, History],
        errors: dict[str, CoincastError],
    ) -> dict[str, Attempt]:
        climbers: dict[str, Attempt] = {}
        for coin, history in histories.items():
            try:
                climbers[coin] = self._climber(standing, query, history)
            except CoincastError as error:
                errors[coin] = error
        return climbers

    def _climber(self, standing: CacheGeneration, query: ForecastQuery, history: History) -> Attempt:
        """The coin with the model that is to answer. Raises InvalidInput or NotReady where that model
        cannot.
        """
        candles, model, failures = history.candles, query.model, list[StepFailure]()
        if model == AUTO:
            model = selection.select_model(
                standing.snapshot, standing.scores, candles.coin_id, query.days, len(candles)
            )
            if model == TECHNICAL:
                failures.append(NO_MODEL)
        check_capability(standing.snapshot, model, query.days, candles.coin_id, len(candles))
        return Attempt(candles, model, failures)

    async def _items(
        self,
        query: ForecastQuery,
        climbers: Mapping[str, Attempt],
        answers: Mapping[str, Prediction],
        histories: Mapping[str, History],
    ) -> dict[str, RenderItem]:
        told: dict[str, Explanation] = {}
        if query.attribution_features:
            explain = self._parts.explanations.of
            told = await explain(answers.values(), query.days, query.attribution_features)
        return {
            coin: RenderItem(
                answers[coin], climber.model, histories[coin].provenance, told.get(coin, NO_EXPLANATION)
            )
            for coin, climber in climbers.items()
        }

    async def _record(
        self, query: ForecastQuery, items: Mapping[str, RenderItem], shown: Mapping[str, CoinForecast]
    ) -> set[str]:
        """See the forecasts into the ledger; the ids that are safe there."""
        return await self._parts.recorder.record(
            [
                LogRecord(
                    forecast_id=forecast.forecast_id,
                    row=items[coin].answered.row,
                    vs_currency=query.vs_currency,
                    model=forecast.model,
                    version=forecast.version,
                    variant=forecast.variant,
                    served_by=forecast.served_by,
                    days=query.days,
                )
                for coin, forecast in shown.items()
            ]
        )

    def _count(self, items: Iterable[RenderItem]) -> None:
        metrics = self._parts.metrics
        for item in items:
            metrics.served(item.model, item.answered.served_by)
            for failure in item.answered.failures:
                metrics.degraded(item.model, failure.cause)
            if item.provenance.stale:
                metrics.degraded(item.model, Cause.STALE_HISTORY)

    def _count_warm(self, served: Iterable[ServedForecast]) -> None:
        counts = Counter((one.forecast.model, one.forecast.served_by) for one in served)
        for (model, served_by), coins in counts.items():
            self._parts.metrics.served(model, served_by, coins)

    def _count_errors(self, errors: Iterable[CoincastError]) -> None:
        for error in errors:
            self._parts.metrics.coin_error(error.kind)


def check_capability(snapshot: Snapshot, model: str, days: int, coin_id: str, history_days: int) -> None:
    """Raise InvalidInput where the model does not reach so far, NotReady where the coin is too young for
    it.
    """
    lineup = snapshot.get(model) or snapshot[TECHNICAL]
    version = lineup.production or snapshot[TECHNICAL].production
    assert version is not None  # noqa: S101 - technical needs no artifact
    able = version.predictor.model
    if days > able.max_horizon_days:
        raise InvalidInput(f"{model} forecasts up to {able.max_horizon_days} days, not {days}", field="days")
    if history_days < able.min_history_days:
        raise NotReady(
            f"{coin_id} has {history_days} closed days of history; "
            f"{version.model} needs {able.min_history_days}",
            field="ids",
        )


def _complete(query: ForecastQuery, forecast: CoinForecast) -> bool:
    """Whether a forecast is all that was asked for, so that it may be shown again as it is."""
    explained = bool(forecast.attributions) or not query.attribution_features
    return explained and not forecast.degraded and forecast.forecast_id != ""


def _unrecorded(forecast: CoinForecast) -> CoinForecast:
    """The ledger does not hold it, so it has no id there."""
    return replace(forecast, forecast_id="")
