"""Stand-ins: candles, a history source, and a fitter whose model is the technical one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from coincast_chassis.clock import ManualClock
from coincast_chassis.errors import Unavailable
from coincast_modelkit.candles import Candles, Panel
from coincast_modelkit.hourly.candles import HourlyCandles
from coincast_modelkit.models import TechnicalModel
from coincast_training.executors import Executor
from coincast_training.pipeline.pipeline import Pipeline
from coincast_training.ports import History, HistorySource, HourlyHistory
from coincast_training.registry.registry import Registry
from coincast_training.trainers.base import FittedModel, WalkForward
from coincast_training.trainers.progress import Progress

PROBABILITIES = np.array(
    [0.005, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.995]
)
NORMAL = np.array(
    [-2.576, -1.96, -1.645, -1.282, -0.842, -0.524, -0.253, 0, 0.253, 0.524, 0.842, 1.282, 1.645, 1.96, 2.576]
)


def candles_of(
    coin_id: str, days: int, *, seed: int = 1, sigma: float = 0.03, first: str = "2022-01-01"
) -> Candles:
    """A random walk of closes with consistent highs and lows."""
    rng = np.random.default_rng([seed, *coin_id.encode()])
    close = 100 * np.exp(np.cumsum(rng.normal(0, sigma, days)))
    open_ = np.concatenate([[100.0], close[:-1]])
    wick = np.exp(np.abs(rng.normal(0, sigma / 3, days)))
    return Candles.of(
        coin_id,
        np.datetime64(first, "D") + np.arange(days).astype("timedelta64[D]"),
        close,
        open=open_,
        high=np.maximum(open_, close) * wick,
        low=np.minimum(open_, close) / wick,
        volume=rng.lognormal(10, 1, days),
    )


def panel_of(ids: Sequence[str], days: int = 400, **options: Any) -> Panel:
    """One coin a name."""
    return {coin_id: candles_of(coin_id, days, **options) for coin_id in ids}


class FakeHistory:
    """Serves a panel; fails as often as configured first."""

    def __init__(self, panel: Panel, *, failures: int = 0, problems: dict[str, str] | None = None) -> None:
        self.panel, self.failures, self.problems = panel, failures, problems or {}
        self.requested: list[tuple[tuple[str, ...], int]] = []
        self.hours: dict[str, HourlyCandles] = {}
        self.hours_failures = 0
        self.requested_hours: list[tuple[tuple[str, ...], int]] = []

    async def fetch(self, ids: Sequence[str], days: int) -> History:
        self.requested.append((tuple(ids), days))
        if self.failures:
            self.failures -= 1
            raise Unavailable("The market-data service is away.")
        found = {
            coin_id: self.panel[coin_id].tail(days or 10_000) for coin_id in ids if coin_id in self.panel
        }
        return History(panel=found, source="archive", problems=self.problems)

    async def fetch_hourly(self, ids: Sequence[str], days: int) -> HourlyHistory:
        """Serve the hours that the test gave."""
        self.requested_hours.append((tuple(ids), days))
        if self.hours_failures:
            self.hours_failures -= 1
            raise Unavailable("The market-data service is away.")
        found = {coin_id: self.hours[coin_id] for coin_id in ids if coin_id in self.hours}
        return HourlyHistory(panel=found, source="archive", problems=self.problems)


def walk_forward_of(
    panel: Panel,
    *,
    horizons: Sequence[int] = (1, 7),
    width: float = 1.0,
    bias: float = 0.0,
    sigma: float = 0.03,
    test_days: int = 200,
) -> WalkForward:
    """Gaussian forecasts of right width and no bias, or not, over the last days of a panel."""
    columns: dict[str, list[Any]] = {
        name: [] for name in ("coin", "origin", "horizon", "last", "quantiles", "actual")
    }
    for coin_id, candles in panel.items():
        for horizon in horizons:
            for row in range(len(candles) - test_days, len(candles) - horizon):
                columns["coin"].append(coin_id)
                columns["origin"].append(candles.dates[row])
                columns["horizon"].append(horizon)
                columns["last"].append(candles.close[row])
                columns["quantiles"].append(bias + NORMAL * sigma * width * np.sqrt(horizon))
                columns["actual"].append(np.log(candles.close[row + horizon] / candles.close[row]))
    return WalkForward(
        coin_ids=np.array(columns["coin"], dtype=np.str_),
        origins=np.array(columns["origin"], dtype="datetime64[D]"),
        horizons=np.array(columns["horizon"]),
        last_prices=np.array(columns["last"]),
        probabilities=PROBABILITIES,
        log_return_quantiles=np.array(columns["quantiles"]),
        actual_log_returns=np.array(columns["actual"]),
    )


class SpokenModel(TechnicalModel):
    """The technical model with a file of its own, so that there is something to damage."""

    def __init__(self, words: str) -> None:
        self.words = words

    def save(self, folder: Path) -> None:
        (folder / "model.txt").write_text(self.words)


class FakeFit:
    """A fitter that takes no time; its forecasts are as wide and as biased as its parameters say."""

    def __init__(self, **quality: float) -> None:
        self.quality = quality
        self.calls: list[tuple[tuple[str, ...], dict[str, Any], int]] = []

    def __call__(
        self,
        panel: Panel,
        params: Mapping[str, Any],
        seed: int,
        *,
        progress: Progress,
        reference: Panel | None = None,
        executor: Executor | None = None,
    ) -> FittedModel:
        self.calls.append((tuple(panel), dict(params), seed))
        quality = {**self.quality, **{k: v for k, v in params.items() if k in ("width", "bias")}}
        progress(0.5, "fits")
        return FittedModel(
            model=SpokenModel(f"{sorted(panel)} {sorted(quality.items())} {seed} " * 200),
            walk_forward=walk_forward_of(panel, **quality),
            parameters={**quality, "trees": 10},
        )


def registry_in(folder: Path, **options: Any) -> Registry:
    """A registry over a fresh folder."""
    return Registry(folder, clock=ManualClock(), **options)


def pipeline_in(folder: Path, history: HistorySource, fit: FakeFit | None = None, **options: Any) -> Pipeline:
    """A pipeline over fakes."""
    chosen = fit or FakeFit()
    return Pipeline(
        history=history,
        registry=registry_in(folder / "artifacts", **options),
        find_fit=lambda _: chosen,
        clock=ManualClock(),
        seed=7,
        work_dir=folder / "work",
    )
