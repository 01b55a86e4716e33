"""Answers a query: histories, model and variant per coin, the ladder, what is shown, the ledger."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from coincast_chassis.errors import CoincastError, InvalidInput, NotReady
from coincast_forecast import auto
from coincast_forecast.climb import Answered, Climber, Ladder
from coincast_forecast.domain import AUTO, TECHNICAL, CoinForecast, ForecastQuery, LiveScores, Served
from coincast_forecast.explanations import UNASKED, Explained, Explanations
from coincast_forecast.histories import Histories
from coincast_forecast.lineup import Snapshot
from coincast_forecast.metrics import Metrics
from coincast_forecast.ports import History
from coincast_forecast.preparation import Preparation
from coincast_forecast.presenter import Item, Presenter
from coincast_forecast.recorder import Recorder, Shown
from coincast_forecast.shadows import Shadows
from coincast_forecast.steps import Cause, StepFailure
from coincast_forecast.warm import Key, Standing, WarmAnswers, question_of
from coincast_modelkit.features import REFERENCE_COINS

NO_MODEL = StepFailure(Cause.NOT_LOADED, "no trained model that can serve this is in production yet")


@dataclass(frozen=True, slots=True)
class Reply:
    """What could be served, and why the rest could not, in the order asked."""

    forecasts: tuple[Served, ...]
    errors: tuple[tuple[str, CoincastError], ...]


@dataclass(frozen=True, slots=True)
class _Found:
    """Histories or errors by coin, and whether every reference coin was among them."""

    coins: Mapping[str, History | CoincastError]
    whole: bool


@dataclass(frozen=True, slots=True)
class Parts:
    """What the service is made of."""

    histories: Histories
    preparation: Preparation
    ladder: Ladder
    presenter: Presenter
    explanations: Explanations
    recorder: Recorder
    shadows: Shadows
    warm: WarmAnswers
    metrics: Metrics
    snapshot: Callable[[], Snapshot]
    scores: Callable[[], LiveScores]


class Forecasting:
    """The service itself; free of gRPC."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def forecast(self, query: ForecastQuery) -> Reply:
        """Forecast every coin of the query. One snapshot of versions serves the whole of it."""
        standing = Standing(self._parts.snapshot(), self._parts.scores())
        question = question_of(query, standing.snapshot)
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
        return Reply(
            tuple(served[coin] for coin in query.ids if coin in served),
            tuple((coin, errors[coin]) for coin in query.ids if coin in errors),
        )

    def _warm(self, query: ForecastQuery, question: Key, standing: Standing) -> dict[str, Served]:
        """The answers that are at hand, whole."""
        served: dict[str, Served] = {}
        for coin in query.ids:
            history = self._parts.histories.at_hand(coin, query.vs_currency)
            answer = history and self._parts.warm.get(question, coin, standing, history)
            if answer:
                served[coin] = answer
        self._parts.histories.count_hits(len(served))
        self._count_warm(served.values())
        return served

    async def _make(
        self,
        query: ForecastQuery,
        standing: Standing,
        histories: Mapping[str, History],
        errors: dict[str, CoincastError],
    ) -> dict[str, Served]:
        """Forecasts of coins whose answer is not at hand; `errors` gains those that cannot be served."""
        snapshot = standing.snapshot
        climbers = self._climbers(standing, query, histories, errors)
        answers = await self._parts.ladder.descend(
            snapshot, list(climbers.values()), query.vs_currency, query.client_key, query.days
        )
        items = await self._items(query, climbers, answers, histories)
        shown = self._parts.presenter.show(items, query.vs_currency, query.shape)
        safe = await self._record(query, items, shown)
        self._parts.shadows.cast(snapshot, query.vs_currency, query.days, answers.values())
        self._count(items.values())
        return {
            coin: Served(
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
        standing: Standing,
        query: ForecastQuery,
        histories: Mapping[str, History],
        errors: dict[str, CoincastError],
    ) -> dict[str, Climber]:
        climbers: dict[str, Climber] = {}
        for coin, history in histories.items():
            try:
                climbers[coin] = self._climber(standing, query, history)
            except CoincastError as error:
                errors[coin] = error
        return climbers

    def _climber(self, standing: Standing, query: ForecastQuery, history: History) -> Climber:
        """The coin with the model that is to answer. Raises InvalidInput or NotReady where that model
        cannot.
        """
        candles, model, failures = history.candles, query.model, list[StepFailure]()
        if model == AUTO:
            model = auto.choose(standing.snapshot, standing.scores, candles.coin_id, query.days, len(candles))
            if model == TECHNICAL:
                failures.append(NO_MODEL)
        check_able(standing.snapshot, model, query.days, candles.coin_id, len(candles))
        return Climber(candles, model, failures)

    async def _items(
        self,
        query: ForecastQuery,
        climbers: Mapping[str, Climber],
        answers: Mapping[str, Answered],
        histories: Mapping[str, History],
    ) -> dict[str, Item]:
        told: dict[str, Explained] = {}
        if query.attribution_features:
            explain = self._parts.explanations.of
            told = await explain(answers.values(), query.days, query.attribution_features)
        return {
            coin: Item(answers[coin], climber.model, histories[coin].provenance, told.get(coin, UNASKED))
            for coin, climber in climbers.items()
        }

    async def _record(
        self, query: ForecastQuery, items: Mapping[str, Item], shown: Mapping[str, CoinForecast]
    ) -> set[str]:
        """See the forecasts into the ledger; the ids that are safe there."""
        return await self._parts.recorder.record(
            [
                Shown(
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

    def _count(self, items: Iterable[Item]) -> None:
        metrics = self._parts.metrics
        for item in items:
            metrics.served(item.model, item.answered.served_by)
            for failure in item.answered.failures:
                metrics.degraded(item.model, failure.cause)
            if item.provenance.stale:
                metrics.degraded(item.model, Cause.STALE_HISTORY)

    def _count_warm(self, served: Iterable[Served]) -> None:
        counts = Counter((one.forecast.model, one.forecast.served_by) for one in served)
        for (model, served_by), coins in counts.items():
            self._parts.metrics.served(model, served_by, coins)

    def _count_errors(self, errors: Iterable[CoincastError]) -> None:
        for error in errors:
            self._parts.metrics.coin_error(error.kind)


def check_able(snapshot: Snapshot, model: str, days: int, coin_id: str, history_days: int) -> None:
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
