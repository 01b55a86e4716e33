"""The service put together from fakes: models that misbehave on command, histories and a ledger in memory."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from scipy.special import ndtri

from coincast_chassis import context
from coincast_chassis.clock import ManualClock
from coincast_chassis.errors import CoincastError, NotFound, Unavailable
from coincast_forecast.domain import (
    ENSEMBLE,
    LIGHTGBM,
    LSTM,
    TECHNICAL,
    ForecastQuery,
    History,
    LedgerCounts,
    LiveScores,
    Provenance,
    Record,
    ServedForecast,
    Source,
)
from coincast_forecast.fallback.executor import FallbackChain, Prediction
from coincast_forecast.features.cache import FeatureCache
from coincast_forecast.history.cache import HistoryCache
from coincast_forecast.hourly.within_day import WithinDay
from coincast_forecast.inference.predictor import Predictor
from coincast_forecast.prediction_log.recorder import Recorder
from coincast_forecast.registry.deployment import Deployment, LiveVersion
from coincast_forecast.rendering.service import Explainer, ForecastRenderer
from coincast_forecast.response_cache import ResponseCache
from coincast_forecast.service import Dependencies, ForecastResponse, ForecastService, PredictedCoins
from coincast_forecast.shadow_traffic import ShadowTraffic
from coincast_modelkit.candles import Candles
from coincast_modelkit.features import FeatureSpec
from coincast_modelkit.forecasts import PROBABILITIES, Forecasts
from coincast_modelkit.ledger import LedgerEntry
from coincast_modelkit.model_input import ModelInput
from coincast_modelkit.models import TechnicalModel
from coincast_modelkit.models.base import Attribution
from tests.unit.forecast.forecast_fakes import COINS, walk


class FakeModel:
    """A Gaussian walk whose width tells models apart; raises, hangs or returns NaN if configured."""

    spec = FeatureSpec(names=())

    def __init__(
        self, name: str, version: str = "v000001", *, width: float = 0.05, max_horizon_days: int = 30
    ) -> None:
        self.name, self.version, self.width = name, version, width
        self.max_horizon_days, self.min_history_days = max_horizon_days, 30
        self.raises: Exception | None = None
        self.nan_coins: set[str] = set()
        self.seconds = 0.0
        self.hang = threading.Event()
        self.hang.set()
        self.batches: list[tuple[str, ...]] = []

    def predict(self, prepared: Sequence[ModelInput], horizons: Sequence[int]) -> Forecasts:
        self.batches.append(tuple(p.coin_id for p in prepared))
        time.sleep(self.seconds)
        self.hang.wait(20)
        if self.raises is not None:
            raise self.raises
        spread = self.width * np.sqrt(np.asarray(horizons, dtype=np.float64))
        quantiles = np.repeat((spread[:, None] * ndtri(PROBABILITIES))[None], len(prepared), axis=0)
        for i, coin in enumerate(prepared):
            if coin.coin_id in self.nan_coins:
                quantiles[i] = np.nan
        shape = (len(prepared), len(horizons))
        return Forecasts(
            coin_ids=tuple(p.coin_id for p in prepared),
            as_of=tuple(p.as_of for p in prepared),
            last_price=np.array([p.last_price for p in prepared]),
            horizons=tuple(horizons),
            probabilities=PROBABILITIES,
            log_return_quantiles=quantiles,
            volatility=np.full(shape, self.width),
            trailing_volatility=np.full(shape, self.width),
            rise_of_volatility=np.full(shape, 0.5),
        )

    def explain(self, prepared: ModelInput, horizon: int, top: int) -> list[Attribution]:
        self.hang.wait(20)
        return [Attribution("return_1", 0.1, 0.2, "volatility", horizon)][:top]

    def save(self, folder: Path) -> None:
        raise AssertionError("no test saves this model")

    @classmethod
    def load(cls, folder: Path, *, version: str = "") -> Self:
        raise AssertionError("no test loads this model")


class FakeSource:
    """HistoryCache in memory."""

    def __init__(self, coins: Mapping[str, Candles] | None = None) -> None:
        self.coins = dict(coins) if coins is not None else {coin: walk(coin) for coin in COINS}
        self.fetched: list[tuple[str, ...]] = []
        self.down = False

    async def fetch(
        self, ids: Sequence[str], vs_currency: str, days: int, *, sparkline_ids: Sequence[str] = ()
    ) -> dict[str, History | CoincastError]:
        self.fetched.append(tuple(ids))
        if self.down:
            raise Unavailable("MarketDataService does not answer", retry_after_seconds=1.0)
        return {
            coin: History(self.coins[coin], Provenance(Source.LIVE))
            if coin in self.coins
            else NotFound(f"there is no coin {coin}")
            for coin in ids
        }

    async def last_closed_day(self, vs_currency: str) -> dt.date:
        if self.down:
            raise Unavailable("MarketDataService does not answer")
        if "bitcoin" not in self.coins:
            raise NotFound("there is no coin bitcoin")
        return self.coins["bitcoin"].as_of

    def next_day(self) -> None:
        for coin, candles in self.coins.items():
            self.coins[coin] = walk(coin, len(candles) + 1, candles.as_of + dt.timedelta(days=1))


class FakeLedger:
    """Entries in memory; refuses them while full."""

    def __init__(self) -> None:
        self.entries: list[LedgerEntry] = []
        self.full = False

    async def append(self, entries: Sequence[LedgerEntry]) -> bool:
        if self.full:
            return False
        self.entries.extend(entries)
        return True

    def counts(self) -> LedgerCounts:
        return LedgerCounts(len(self.entries), 0, True)


@dataclass
class Kit:
    """The service and everything around it."""

    models: dict[str, FakeModel]
    source: FakeSource
    ledger: FakeLedger
    clock: ManualClock
    histories: HistoryCache
    shadow_traffic: ShadowTraffic
    lineups: dict[str, Deployment]
    forecasting: ForecastService
    scores: dict[tuple[str, str, int], float] = field(default_factory=dict)

    async def ask(self, *ids: str, **changes: Any) -> ForecastResponse:
        return await self.forecasting.forecast(ForecastQuery(ids=ids, **changes))

    async def one(self, coin: str = "bitcoin", **changes: Any) -> ServedForecast:
        [served] = (await self.ask(coin, **changes)).forecasts
        return served


class Scores:
    """The live scores of a kit, another object each time while there are any."""

    def __init__(self, scores: dict[tuple[str, str, int], float], *, changing: bool) -> None:
        self._scores, self._changing = scores, changing
        self._same = LiveScores({})

    @property
    def current(self) -> LiveScores:
        return LiveScores(self._scores) if self._scores or self._changing else self._same


class Snapshots:
    """A new snapshot when a lineup changed, as the registry makes them."""

    def __init__(self, lineups: dict[str, Deployment]) -> None:
        self._lineups = lineups
        self._last: dict[str, Deployment] = {}

    @property
    def snapshot(self) -> dict[str, Deployment]:
        if self._last != self._lineups:
            self._last = dict(self._lineups)
        return self._last


def live(model: Any, *, step_seconds: float = 0.5, record: Record | None = None) -> LiveVersion:
    """A version in service."""
    predictor = Predictor(
        model, limit_seconds=step_seconds, max_batch=250, keep_rows=1000, timer=time.perf_counter
    )
    return LiveVersion(
        model.name, model.version, predictor, dt.datetime(2025, 9, 1, tzinfo=dt.UTC), record=record
    )


def make_kit(
    *, step_seconds: float = 20, source: FakeSource | None = None, within_day: WithinDay | None = None
) -> Kit:
    """All models loaded, nothing wrong yet."""
    models = {
        ENSEMBLE: FakeModel(ENSEMBLE, width=0.04),
        LIGHTGBM: FakeModel(LIGHTGBM, width=0.05),
        LSTM: FakeModel(LSTM, width=0.06),
    }
    lineups = {
        name: Deployment(production=live(model, step_seconds=step_seconds)) for name, model in models.items()
    }
    lineups[TECHNICAL] = Deployment(production=live(TechnicalModel(), step_seconds=10))
    clock = ManualClock(1_756_700_000.0)
    source, ledger = source or FakeSource(), FakeLedger()
    histories = HistoryCache(
        source,
        clock,
        days=800,
        coins=500,
        timeout_seconds=1.0,
        retry_seconds=60,
        stale_after_seconds=120,
    )
    preparation = FeatureCache(keep_bytes=2**26, limit_seconds=10)
    recorder = Recorder(ledger, clock)
    shadow_traffic = ShadowTraffic(preparation, recorder, queue_coins=100)
    scores: dict[tuple[str, str, int], float] = {}
    parts = Dependencies(
        histories=histories,
        features=preparation,
        fallback_chain=FallbackChain(
            preparation, step_timeout_seconds=step_seconds, remaining_seconds=context.remaining_seconds
        ),
        renderer=ForecastRenderer(1000),
        explainer=Explainer(1000, 1.0, context.remaining_seconds),
        recorder=recorder,
        shadow_traffic=shadow_traffic,
        response_cache=ResponseCache(1000),
        deployments=Snapshots(lineups),
        # As in the service, one object while no score changes: replies are cached by it.
        scores=Scores(scores, changing=within_day is None),
        clock=clock,
        within_day=within_day,
    )
    return Kit(
        models, source, ledger, clock, histories, shadow_traffic, lineups, ForecastService(parts), scores
    )


class NoPast:
    """Refuses requests for past moments, which most tests do not make."""

    async def predict(self, query: ForecastQuery, as_of: dt.datetime) -> PredictedCoins:
        raise AssertionError("no past moment is expected")

    async def from_newest_hour(
        self, predictions: Mapping[str, Prediction], vs_currency: str, as_of: dt.datetime
    ) -> tuple[Mapping[str, Prediction], str]:
        raise AssertionError("no past moment is expected")
