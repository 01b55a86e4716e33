"""One fold of a walk-forward: fit on the days before the fold, and forecast its days.

The functions have no side effects, so that a fold can run in any process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from coincast_modelkit.candles import Candles, Panel
from coincast_modelkit.features import WINDOW_DAYS, FeatureSpec, Market, batch, market_of
from coincast_modelkit.forecasts import PROBABILITIES
from coincast_modelkit.model_input import TAIL_DAYS, ModelInput
from coincast_modelkit.models.base import ForecastModel
from coincast_modelkit.splits import Fold
from coincast_training.pipeline.dataset import TrainingData
from coincast_training.trainers.base import WalkForward
from coincast_training.trainers.registry import find_fit

CHUNK = 256


@dataclass(frozen=True, slots=True)
class FoldTask:
    """A fold to run: model, parameters, days and horizons.

    The last `in_sample_days` of the training days are forecast as well.
    """

    model: str
    params: Mapping[str, Any]
    seed: int
    fold: Fold
    horizons: tuple[int, ...]
    in_sample_days: int = 0


@dataclass(frozen=True, slots=True)
class FoldResult:
    """Forecasts of the test days and of the last training days, and the duration of fit and prediction."""

    out_of_sample: WalkForward
    in_sample: WalkForward
    fit_seconds: float
    predict_seconds: float


def run_fold(data: TrainingData, task: FoldTask) -> FoldResult:
    """Fit on the closes before the first test day, and forecast the test days and the last training days."""
    fold, day = task.fold, np.timedelta64(1, "D")
    known = cut(data.panel, fold.train_from, fold.test_from - day)
    started = perf_counter()
    fitted = find_fit(task.model)(
        known,
        task.params,
        task.seed,
        progress=_silent,
        reference=cut(data.reference, None, fold.test_from - day),
    )
    fit_seconds = perf_counter() - started
    started = perf_counter()
    horizons = [h for h in task.horizons if h <= fitted.model.max_horizon_days]
    out_of_sample = forecast_days(fitted.model, data, fold.test_from, fold.test_to, horizons)
    last_known = fold.purged_to(max(horizons))
    first = last_known - np.timedelta64(max(0, task.in_sample_days - 1), "D")
    in_sample = forecast_days(
        fitted.model, data, first, last_known if task.in_sample_days else first - day, horizons
    )
    return FoldResult(out_of_sample, in_sample, fit_seconds, perf_counter() - started)


def cut(panel: Panel, first: np.datetime64 | None, last: np.datetime64) -> Panel:
    """Cut the panel to the days `first` to `last`, both included; leave out coins without a day."""
    out = {}
    for coin_id, candles in panel.items():
        kept = candles.until(last)
        if first is not None:
            kept = kept.rows(int(np.searchsorted(kept.dates, first)), len(kept))
        if len(kept):
            out[coin_id] = kept
    return out


def forecast_days(
    model: ForecastModel,
    data: TrainingData,
    first: np.datetime64,
    last: np.datetime64,
    horizons: Sequence[int],
) -> WalkForward:
    """Forecast every coin on every day from `first` to `last`; leave out unknown outcomes."""
    market = market_of(data.reference)
    parts = []
    for coin_id in sorted(data.panel):
        candles = data.panel[coin_id].on_every_day()
        prepared = prepared_on(candles, market, model.spec, first, last)
        chunks = (prepared[start : start + CHUNK] for start in range(0, len(prepared), CHUNK))
        parts += [_forecast(model, candles, chunk, horizons) for chunk in chunks]
    return joined(parts)


def prepared_on(
    candles: Candles, market: Market, spec: FeatureSpec, first: np.datetime64, last: np.datetime64
) -> list[ModelInput]:
    """Return the inputs of each day from `first` to `last`.

    They equal those of `prepare`, but the features of all days are computed at once, which is faster.
    """
    stop = int(np.searchsorted(candles.dates, last, side="right"))
    start = int(np.searchsorted(candles.dates, first))
    if start >= stop:
        return []
    features = batch(candles.rows(0, stop), market, spec)
    padded = np.vstack([np.full((WINDOW_DAYS, len(spec.names)), np.nan), features])
    return [
        ModelInput(
            coin_id=candles.coin_id,
            as_of=candles.dates[row].astype(object),
            last_price=float(candles.close[row]),
            row=features[row],
            window=padded[row + 1 : row + 1 + WINDOW_DAYS],
            candles=candles.rows(max(0, row + 1 - TAIL_DAYS), row + 1),
        )
        for row in range(start, stop)
    ]


def _forecast(
    model: ForecastModel, candles: Candles, prepared: list[ModelInput], horizons: Sequence[int]
) -> WalkForward:
    forecasts = model.predict(prepared, horizons)
    rows = np.searchsorted(candles.dates, np.array(forecasts.as_of, dtype="datetime64[D]"))
    ahead = rows[:, None] + np.array(horizons)[None, :]
    ended = ahead < len(candles)
    actual = np.log(candles.close[np.minimum(ahead, len(candles) - 1)] / candles.close[rows][:, None])
    usable = ended & np.isfinite(forecasts.log_return_quantiles).all(axis=2)
    coin, horizon = np.nonzero(usable)
    return WalkForward(
        coin_ids=np.full(len(coin), candles.coin_id),
        origins=candles.dates[rows[coin]],
        horizons=np.array(horizons)[horizon],
        last_prices=forecasts.last_price[coin],
        probabilities=forecasts.probabilities,
        log_return_quantiles=forecasts.log_return_quantiles[coin, horizon],
        actual_log_returns=actual[coin, horizon],
    )


def joined(parts: Sequence[WalkForward]) -> WalkForward:
    """Concatenate walk-forward forecasts, which must have the same probabilities."""
    parts = [part for part in parts if len(part)] or list(parts[:1])
    if not parts:
        return empty()
    return WalkForward(
        coin_ids=np.concatenate([part.coin_ids for part in parts]),
        origins=np.concatenate([part.origins for part in parts]),
        horizons=np.concatenate([part.horizons for part in parts]),
        last_prices=np.concatenate([part.last_prices for part in parts]),
        probabilities=parts[0].probabilities,
        log_return_quantiles=np.concatenate([part.log_return_quantiles for part in parts]),
        actual_log_returns=np.concatenate([part.actual_log_returns for part in parts]),
    )


def empty() -> WalkForward:
    """Return walk-forward forecasts without rows."""
    none = np.empty(0)
    return WalkForward(
        coin_ids=np.empty(0, dtype=np.str_),
        origins=np.empty(0, dtype="datetime64[D]"),
        horizons=np.empty(0, dtype=np.int64),
        last_prices=none,
        probabilities=PROBABILITIES,
        log_return_quantiles=np.empty((0, len(PROBABILITIES))),
        actual_log_returns=none,
    )


def _silent(fraction: float, stage: str) -> None:
    """Ignore the progress, since a fold may run on another machine."""
