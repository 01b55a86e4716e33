"""Reference models: the automatic models of statsforecast, and mlforecast, on every eighth day.

statsforecast's models are refitted on each of these days, as they are designed to be, which is slow. Their
figures are therefore compared with the random walk on the same days only.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from coincast_modelkit.candles import Panel
from coincast_modelkit.forecasts import PROBABILITIES
from coincast_training.evaluation.options import MIN_HISTORY_DAYS, EvaluationPlan
from coincast_training.evaluation.rows import Rows, join_rows, point_rows
from coincast_training.optional_imports import OPTIONAL_FOR_LIGHTGBM, hidden
from coincast_training.trainers.progress import Progress

with hidden(OPTIONAL_FOR_LIGHTGBM):
    import lightgbm

if TYPE_CHECKING:
    import pandas as pd

EVERY_DAYS = 8
ML_REFIT_DAYS = 64
WINDOW_DAYS = 200
LEVELS = (50, 80, 90, 95)
NAMES = {"AutoETS": "auto_ets", "AutoARIMA": "auto_arima", "AutoTheta": "auto_theta"}


def walk_statsforecast(panel: Panel, plan: EvaluationPlan, progress: Progress) -> Rows:
    """Return the rows of AutoETS, AutoARIMA and AutoTheta on the log prices of the last WINDOW_DAYS."""
    from statsforecast import StatsForecast  # noqa: PLC0415 - slow to import
    from statsforecast.models import AutoARIMA, AutoETS, AutoTheta  # noqa: PLC0415

    models = [
        AutoETS(season_length=1),
        AutoARIMA(season_length=1, max_p=2, max_q=2, max_d=1, approximation=True),
        AutoTheta(season_length=1),
    ]
    days, parts = plan.cuts(EVERY_DAYS), []
    for i, day in enumerate(days):
        table = _long(panel, day, WINDOW_DAYS)
        if len(table):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made: Any = StatsForecast(models=models, freq="D", n_jobs=1).forecast(
                    df=table, h=max(plan.horizons), level=list(LEVELS)
                )
            parts += [
                _rows(panel, made, day=day, plan=plan, column=column, name=name, levels=LEVELS)
                for column, name in NAMES.items()
            ]
        progress((i + 1) / len(days), f"statsforecast on {day}")
    return join_rows(parts)


def walk_mlforecast(panel: Panel, plan: EvaluationPlan, progress: Progress) -> Rows:
    """Return the rows of mlforecast: LightGBM on lags of the differenced log price, pooled over coins."""
    from mlforecast import MLForecast  # noqa: PLC0415 - slow to import
    from mlforecast.lag_transforms import RollingMean, RollingStd  # noqa: PLC0415
    from mlforecast.target_transforms import Differences  # noqa: PLC0415

    transforms: dict[int, list[Any]] = {1: [RollingMean(7), RollingMean(30), RollingStd(30)]}
    days, parts = plan.cuts(EVERY_DAYS), []
    fitted: Any = None
    for i, day in enumerate(days):
        table = _long(panel, day, 10**6)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if i % (ML_REFIT_DAYS // EVERY_DAYS) == 0:
                fitted = MLForecast(
                    models={"mlforecast": _regressor(plan.seed)},
                    freq="D",
                    lags=[1, 2, 3, 7, 14],
                    lag_transforms=transforms,
                    target_transforms=[Differences([1])],
                )
                fitted.fit(table, static_features=[])
            made = fitted.predict(h=max(plan.horizons), new_df=table)
        parts.append(
            _rows(panel, made, day=day, plan=plan, column="mlforecast", name="mlforecast", levels=())
        )
        progress((i + 1) / len(days), f"mlforecast on {day}")
    return join_rows(parts)


def _regressor(seed: int) -> Any:
    """Return LightGBM with its default parameters but for a few, as an estimator of scikit-learn.

    LightGBM's own wrapper is not there: the process imports LightGBM without scikit-learn. See
    `optional_imports`.
    """
    from sklearn.base import BaseEstimator, RegressorMixin  # noqa: PLC0415 - slow to import

    class Boosted(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
        def __init__(self, seed: int = 0) -> None:
            self.seed = seed

        def fit(self, x: pd.DataFrame, y: np.ndarray) -> Any:
            options = {
                "objective": "regression",
                "num_leaves": 15,
                "learning_rate": 0.05,
                "num_threads": 1,
                "seed": self.seed,
                "verbosity": -1,
            }
            data = lightgbm.Dataset(np.asarray(x, dtype=np.float64), label=np.asarray(y))
            self.booster_ = lightgbm.train(options, data, num_boost_round=100)
            return self

        def predict(self, x: pd.DataFrame) -> np.ndarray:
            return np.asarray(self.booster_.predict(np.asarray(x, dtype=np.float64), num_threads=1))

    return Boosted(seed)


def _long(panel: Panel, day: np.datetime64, days: int) -> pd.DataFrame:
    """Return log prices of the coins that trade on a day, in the long format of both libraries."""
    import pandas as pd  # noqa: PLC0415 - slow to import, and only these models use it

    parts = []
    for coin, candles in panel.items():
        known = candles.until(day).tail(days)
        if len(known) >= MIN_HISTORY_DAYS and known.dates[-1] == day:
            parts.append(pd.DataFrame({"unique_id": coin, "ds": known.dates, "y": np.log(known.close)}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["unique_id", "ds", "y"])


def _rows(
    panel: Panel,
    made: pd.DataFrame,
    *,
    day: np.datetime64,
    plan: EvaluationPlan,
    column: str,
    name: str,
    levels: tuple[int, ...],
) -> Rows:
    parts = []
    for coin, group in made.groupby("unique_id", sort=False):
        last = panel[str(coin)].until(day).last_price
        origin, price = np.array([day]), np.array([last])
        for h in plan.horizons:
            row = group.iloc[h - 1]
            quantiles = _quantiles(row, column, levels) - np.log(last) if levels else None
            point = np.array([np.exp(float(row[column]))])
            parts.append(
                point_rows(
                    name,
                    str(coin),
                    origin=origin,
                    horizon=h,
                    last_price=price,
                    point=point,
                    quantiles=None if quantiles is None else quantiles[None],
                )
            )
    return join_rows(parts)


def _quantiles(row: pd.Series[Any], column: str, levels: tuple[int, ...]) -> np.ndarray:
    """Interpolate quantiles (Q,) at PROBABILITIES from the intervals, linearly in the normal score."""
    from scipy.special import ndtri  # noqa: PLC0415

    known = {0.5: float(row[column])}
    for level in levels:
        known[0.5 - level / 200] = float(row[f"{column}-lo-{level}"])
        known[0.5 + level / 200] = float(row[f"{column}-hi-{level}"])
    at = np.array(sorted(known))
    values = np.maximum.accumulate(np.array([known[p] for p in at]))
    score, wanted = ndtri(at), ndtri(PROBABILITIES)
    inner = np.interp(wanted, score, values)
    low = values[0] + (wanted - score[0]) * (values[1] - values[0]) / (score[1] - score[0])
    high = values[-1] + (wanted - score[-1]) * (values[-1] - values[-2]) / (score[-1] - score[-2])
    return np.asarray(np.where(wanted < score[0], low, np.where(wanted > score[-1], high, inner)))
