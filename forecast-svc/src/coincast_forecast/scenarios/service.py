"""Simulate joint price paths from served forecasts; derive portfolio risk and touch probabilities.

One simulation of fourteen days is used for every horizon and every risk request about the same coins. It is
cached until one of their forecasts changes, which happens once a day. Arrays are computed on a thread, never
on the event loop.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Protocol, TypeVar

import numpy as np

from coincast_chassis import context
from coincast_chassis.errors import CoincastError, InvalidInput, NotReady, Timeout, Unavailable
from coincast_chassis.resilience.bounded_cache import Lru
from coincast_forecast.domain import AUTO, ForecastQuery, History, Provenance, partial_error
from coincast_forecast.fallback.executor import Prediction
from coincast_forecast.inference.thread import ThreadStuckError, WorkerThread
from coincast_forecast.registry.deployment import Snapshot
from coincast_forecast.scenarios.library import NO_LIBRARY, build_from_histories, choose_library
from coincast_forecast.service import ForecastService, PredictedCoins
from coincast_modelkit.candles import Candles
from coincast_modelkit.features import REFERENCE_COINS
from coincast_modelkit.forecasts import Forecasts
from coincast_modelkit.scenarios import (
    MAX_DAYS,
    MIN_OWN_DAYS,
    JointPaths,
    PortfolioRisk,
    TouchProbabilities,
    assess_portfolio,
    simulate_paths,
    touch_probabilities,
)

RETRY_AFTER_SECONDS = 5.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Basis:
    """The model, the data and the past days behind a simulation, for the reply."""

    model: str
    version: str
    served_by: str
    reason: str
    day: date
    provenance: Provenance
    scenarios: int
    first_origin: date
    last_origin: date
    borrowed_ids: tuple[str, ...]
    # Closed hours since the close of `day` from which the paths start, and why they start from the close.
    start_hours: int = 0
    start_reason: str = ""
    # Whether the simulation is of a past moment, with the data known then.
    reconstructed: bool = False


@dataclass(frozen=True, slots=True)
class CoinSource:
    """The model that answered for one coin, and the day of its last close."""

    served_by: str
    as_of: date


@dataclass(frozen=True, slots=True, eq=False)
class Simulation:
    """Joint paths, their basis, the errors of coins without paths, and the source of each coin.

    `at_close` is the simulation from the last close, if this one starts within the day. It is the one that is
    logged and scored.
    """

    paths: JointPaths
    basis: Basis
    errors: tuple[tuple[str, CoincastError], ...] = ()
    sources: Mapping[str, CoinSource] = field(default_factory=dict)
    at_close: Simulation | None = None

    def source_of(self, coin: str) -> CoinSource:
        """Return the source of a coin; by default that of the basis."""
        return self.sources.get(coin) or CoinSource(self.basis.served_by, self.basis.day)


@dataclass(frozen=True, slots=True)
class Holding:
    """A holding of one coin: an amount of coins or a value in the currency; negative for short."""

    coin_id: str
    amount: float | None = None
    value: float | None = None


@dataclass(frozen=True, slots=True)
class PricedHolding:
    """A holding at the last close."""

    coin_id: str
    amount: float
    price: float
    value: float


@dataclass(frozen=True, slots=True, eq=False)
class PortfolioAnswer:
    """The risk of the holdings that could be priced and simulated; `at_close` as in `Simulation`."""

    simulation: Simulation
    holdings: tuple[PricedHolding, ...]
    risk: PortfolioRisk
    days: int
    at_close: PortfolioAnswer | None = None


@dataclass(frozen=True, slots=True)
class TouchLevel:
    """A price, or a move in percent of the last price."""

    price: float | None = None
    percent: float | None = None

    def price_for(self, last_price: float) -> float:
        """Return the level as a price."""
        if self.price is not None:
            return self.price
        return last_price * (1 + (self.percent or 0.0) / 100)


@dataclass(frozen=True, slots=True, eq=False)
class LevelAnswer:
    """The touch probabilities of one level of one coin."""

    price: float
    percent: float
    probabilities: TouchProbabilities


@dataclass(frozen=True, slots=True, eq=False)
class TouchAnswer:
    """The touch probabilities of every level by coin; `at_close` as in `Simulation`, for the same prices."""

    simulation: Simulation
    coins: Mapping[str, tuple[float, tuple[LevelAnswer, ...]]] = field(default_factory=dict)
    at_close: TouchAnswer | None = None


class PastPredictions(Protocol):
    """Computes predictions as of a past moment, with the data known then."""

    async def predict(self, query: ForecastQuery, as_of: datetime) -> PredictedCoins:
        """Return predictions from the last close before `as_of`."""
        ...

    async def from_newest_hour(
        self, predictions: Mapping[str, Prediction], vs_currency: str, as_of: datetime
    ) -> tuple[Mapping[str, Prediction], str]:
        """Return predictions that all start from the hour that ends at `as_of`, or none and the reason."""
        ...


class ScenarioService:
    """Simulates joint paths from forecasts of now or of a past moment.

    Args:
        forecasts: The forecasts of now.
        past: The forecasts of past moments.
        cache_bytes: Size of the cache of simulations.
        limit_seconds: Time limit of one computation.
        remaining_seconds: Returns the seconds left until the request's deadline.
    """

    def __init__(
        self,
        forecasts: ForecastService,
        past: PastPredictions,
        *,
        cache_bytes: int,
        limit_seconds: float,
        remaining_seconds: Callable[[], float | None] = context.remaining_seconds,
    ) -> None:
        self._forecasts = forecasts
        self._past = past
        self._limit_seconds = limit_seconds
        self._remaining_seconds = remaining_seconds
        self._thread = WorkerThread("scenarios")
        self._cache: Lru[tuple[str, ...], tuple[JointPaths, str]] = Lru(
            cache_bytes, lambda e: _bytes_of(e[0])
        )
        self._flights: dict[tuple[str, ...], asyncio.Task[tuple[JointPaths, str]]] = {}

    def stop(self) -> None:
        """Stop the thread."""
        self._thread.stop()

    async def simulate(
        self,
        ids: Sequence[str],
        *,
        vs_currency: str = "usd",
        model: str = AUTO,
        as_of: datetime | None = None,
    ) -> Simulation:
        """Return joint paths of MAX_DAYS days for every coin that can be simulated.

        They start from the newest closed hour where the forecasts of all coins do, else from the last close.

        Args:
            ids: Ids of coins.
            vs_currency: The currency of the prices.
            model: Name of the model, or auto.
            as_of: A past moment, a full UTC hour: the paths are made from the data known then. None is now.

        Raises:
            InvalidInput: That moment is still to come.
            CoincastError: No coin can be simulated; the error is that of the first one.
        """
        query = ForecastQuery(
            ids=tuple(ids), vs_currency=vs_currency, days=MAX_DAYS, model=model, as_of=as_of
        )
        if as_of is None:
            predicted = await self._forecasts.predict(query)
        else:
            predicted = await self._past.predict(query, as_of)
        errors = dict(predicted.errors)
        usable: dict[str, Prediction] = {}
        for coin, prediction in predicted.predictions.items():
            error = _refusal(predicted.histories[coin])
            if error is None:
                usable[coin] = prediction
            else:
                errors[coin] = error
        if not usable:
            raise errors[next(coin for coin in query.ids if coin in errors)]
        paths, library_reason = await self._paths(usable, predicted, as_of)
        at_close = Simulation(
            paths,
            replace(_basis(usable, predicted, paths, library_reason), reconstructed=as_of is not None),
            errors=tuple((coin, errors[coin]) for coin in query.ids if coin in errors),
            sources={
                coin: CoinSource(prediction.served_by, prediction.ref.prepared.as_of)
                for coin, prediction in usable.items()
            },
        )
        if as_of is None:
            moved, start_reason = await self._forecasts.from_newest_hour(usable, vs_currency)
        else:
            moved, start_reason = await self._past.from_newest_hour(usable, vs_currency, as_of)
        if not moved:
            return replace(at_close, basis=replace(at_close.basis, start_reason=start_reason))
        paths, _ = await self._paths(moved, predicted, as_of)
        hours = next(iter(moved.values())).start.hours
        return replace(
            at_close, paths=paths, basis=replace(at_close.basis, start_hours=hours), at_close=at_close
        )

    async def assess(
        self,
        holdings: Sequence[Holding],
        *,
        days: int,
        levels_percent: Sequence[float],
        vs_currency: str = "usd",
        model: str = AUTO,
        as_of: datetime | None = None,
    ) -> PortfolioAnswer:
        """Return the loss distribution of holdings; coins that cannot be simulated are among the errors.

        Args:
            holdings: Value or amount of each coin; negative for short.
            days: The horizon.
            levels_percent: Levels of value at risk.
            vs_currency: The currency of the values.
            model: Name of the model, or auto.
            as_of: As in `simulate`.

        Raises:
            InvalidInput: The holdings are too large to be valued, or the moment is still to come.
            CoincastError: No coin can be simulated.
        """
        ids = tuple(dict.fromkeys(h.coin_id for h in holdings))
        simulation = await self.simulate(ids, vs_currency=vs_currency, model=model, as_of=as_of)
        answer = await self._assess(simulation, holdings, days, levels_percent)
        if simulation.at_close is None:
            return answer
        at_close = await self._assess(simulation.at_close, holdings, days, levels_percent)
        return replace(answer, at_close=at_close)

    async def _assess(
        self,
        simulation: Simulation,
        holdings: Sequence[Holding],
        days: int,
        levels_percent: Sequence[float],
    ) -> PortfolioAnswer:
        paths = simulation.paths
        values: dict[str, float] = {}
        for holding in holdings:
            if holding.coin_id not in paths.coin_ids:
                continue
            price = float(paths.last_price[paths.index(holding.coin_id)])
            value = holding.value if holding.value is not None else (holding.amount or 0.0) * price
            values[holding.coin_id] = values.get(holding.coin_id, 0.0) + value
        if not all(math.isfinite(value) for value in values.values()):
            raise InvalidInput("holdings are too large to be valued: give smaller amounts", field="holdings")
        priced = tuple(
            PricedHolding(coin, value / price, price, value)
            for coin, value in values.items()
            for price in (float(paths.last_price[paths.index(coin)]),)
        )
        risk = await self._compute(lambda: assess_portfolio(paths, values, days, levels_percent))
        return PortfolioAnswer(simulation, priced, risk, days)

    async def touch(
        self,
        ids: Sequence[str],
        levels: Sequence[TouchLevel],
        *,
        vs_currency: str = "usd",
        model: str = AUTO,
        as_of: datetime | None = None,
    ) -> TouchAnswer:
        """Return the probability that each coin touches each level, by day.

        Args:
            ids: Ids of coins.
            levels: Prices, or moves relative to the last price.
            vs_currency: The currency of the prices.
            model: Name of the model, or auto.
            as_of: As in `simulate`.

        Raises:
            InvalidInput: The moment is still to come.
            CoincastError: No coin can be simulated.
        """
        simulation = await self.simulate(ids, vs_currency=vs_currency, model=model, as_of=as_of)
        starts = dict(zip(simulation.paths.coin_ids, simulation.paths.last_price.tolist(), strict=True))
        prices = {coin: [level.price_for(start) for level in levels] for coin, start in starts.items()}
        answer = await self._touch(simulation, prices)
        if simulation.at_close is None:
            return answer
        return replace(answer, at_close=await self._touch(simulation.at_close, prices))

    async def _touch(self, simulation: Simulation, prices: Mapping[str, Sequence[float]]) -> TouchAnswer:
        """Return the chance that each coin touches each of its prices, by day."""
        paths = simulation.paths

        def estimate() -> dict[str, tuple[float, tuple[LevelAnswer, ...]]]:
            answers = {}
            for coin, last_price in zip(paths.coin_ids, paths.last_price.tolist(), strict=True):
                rows = []
                for price in prices[coin]:
                    chances = touch_probabilities(paths, coin, math.log(price / last_price))
                    rows.append(LevelAnswer(price, 100 * (price / last_price - 1), chances))
                answers[coin] = (last_price, tuple(rows))
            return answers

        return TouchAnswer(simulation, await self._compute(estimate))

    async def _paths(
        self, usable: Mapping[str, Prediction], predicted: PredictedCoins, as_of: datetime | None
    ) -> tuple[JointPaths, str]:
        # A past moment may have another library of moves than now, also for the same forecasts.
        key = (
            "" if as_of is None else as_of.isoformat(),
            *(f"{coin}\x1f{one.forecast_id}\x1f{one.start.hours}" for coin, one in usable.items()),
        )
        cached = self._cache.get(key)
        if cached is not None:
            return cached
        task = self._flights.get(key)
        if task is None:
            panel = {
                coin: history.candles
                for coin, history in predicted.references.items()
                if coin in REFERENCE_COINS
            }
            panel.update((coin, prediction.candles) for coin, prediction in usable.items())
            task = asyncio.create_task(
                self._simulate(usable, panel, predicted.snapshot), context=context.detached()
            )
            self._flights[key] = task
            task.add_done_callback(lambda _: self._flights.pop(key, None))
        found = await asyncio.shield(task)
        self._cache.put(key, found)
        return found

    async def _simulate(
        self, usable: Mapping[str, Prediction], panel: Mapping[str, Candles], snapshot: Snapshot
    ) -> tuple[JointPaths, str]:
        def simulate() -> tuple[JointPaths, str]:
            forecasts = _stack(list(usable.values()))
            as_of = min(forecasts.as_of)
            chosen = choose_library((p.version for p in usable.values()), snapshot)
            if chosen is not None:
                library, reason = chosen.library, chosen.reason
            else:
                built = build_from_histories(panel)
                if built is None:
                    raise NotReady(
                        "the histories are too short to simulate from: request a forecast instead",
                        field="ids",
                    )
                library, reason = built, NO_LIBRARY
            try:
                return simulate_paths(library.window(as_of), forecasts, MAX_DAYS), reason
            except ValueError as error:
                raise NotReady(f"no scenarios can be simulated: {error}", field="ids") from error

        return await self._compute(simulate)

    async def _compute(self, call: Callable[[], T]) -> T:
        left = self._remaining_seconds()
        limit = self._limit_seconds if left is None else max(0.0, min(self._limit_seconds, left))
        try:
            return await self._thread.run(call, limit_seconds=limit)
        except ThreadStuckError as error:
            raise Unavailable(
                "an earlier simulation still runs", retry_after_seconds=RETRY_AFTER_SECONDS
            ) from error
        except TimeoutError as error:
            raise Timeout(
                f"the simulation did not end within {limit:.2g} s: request fewer coins",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            ) from error


def _refusal(history: History) -> CoincastError | None:
    """Return why a coin cannot be simulated; None if it can."""
    days, coin = len(history.candles), history.candles.coin_id
    if days >= MIN_OWN_DAYS:
        return None
    if history.partial_reason:
        return partial_error(coin, history.partial_reason, history.retry_after_seconds)
    return NotReady(
        f"{coin} has {days} closed days of history and scenarios need {MIN_OWN_DAYS}: request its forecast",
        field="ids",
    )


def _stack(predictions: Sequence[Prediction]) -> Forecasts:
    """Combine predictions of any models into one batch at the horizons of a path."""
    days = slice(0, MAX_DAYS)
    refs = [prediction.ref for prediction in predictions]
    first = refs[0].forecasts

    def column(name: str) -> np.ndarray:
        return np.stack([getattr(ref.forecasts, name)[ref.index, days] for ref in refs])

    return Forecasts(
        coin_ids=tuple(ref.prepared.coin_id for ref in refs),
        as_of=tuple(ref.prepared.as_of for ref in refs),
        # That of the start, which may be an hour of the day after the last candle.
        last_price=np.array([ref.forecasts.last_price[ref.index] for ref in refs]),
        horizons=tuple(first.horizons[days]),
        probabilities=first.probabilities,
        log_return_quantiles=column("log_return_quantiles"),
        volatility=column("volatility"),
        trailing_volatility=column("trailing_volatility"),
        rise_of_volatility=column("rise_of_volatility"),
    )


def _basis(
    usable: Mapping[str, Prediction], predicted: PredictedCoins, paths: JointPaths, library_reason: str
) -> Basis:
    predictions = list(usable.values())
    reasons = [predicted.reasons[coin] for coin in usable if predicted.reasons[coin]]
    if library_reason:
        reasons.append(library_reason)
    provenances = [predicted.histories[coin].provenance for coin in usable]
    return Basis(
        model=_one_or_mixed(p.model for p in predictions),
        version=_one_or_mixed(p.version_name for p in predictions),
        served_by=_one_or_mixed(p.served_by for p in predictions),
        reason="; ".join(dict.fromkeys(reasons)),
        day=min(p.ref.prepared.as_of for p in predictions),
        provenance=next((p for p in provenances if p.stale), provenances[0]),
        scenarios=len(paths),
        first_origin=paths.origins[0].astype(object),
        last_origin=paths.origins[-1].astype(object),
        borrowed_ids=tuple(
            coin for coin, share in zip(paths.coin_ids, paths.borrowed_share, strict=True) if share > 0
        ),
    )


def _one_or_mixed(names: Iterable[str]) -> str:
    """Return the distinct names, separated by commas; usually there is only one."""
    return ", ".join(dict.fromkeys(names))


def _bytes_of(paths: JointPaths) -> int:
    return int(paths.closes.nbytes + paths.highs.nbytes + paths.lows.nbytes)
