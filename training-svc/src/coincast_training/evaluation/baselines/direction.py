"""Baselines of direction: LightGBM on the scaled return with several seeds, and the one-day reversal rule.

Neither is a model of the product. All seeds are shown, because a lucky seed looks like skill.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from coincast_modelkit import rolling as k
from coincast_modelkit.candles import Panel
from coincast_modelkit.features import DEFAULT_SPEC
from coincast_modelkit.models.scales import joined
from coincast_training.evaluation.baselines.simple import origins_of
from coincast_training.evaluation.options import EvaluationPlan
from coincast_training.evaluation.rows import Rows, join_rows, point_rows
from coincast_training.optional_imports import OPTIONAL_FOR_LIGHTGBM, hidden
from coincast_training.trainers.ensemble.dataset import CoinRows, block_of, rows_of
from coincast_training.trainers.ensemble.members import MIN_ROWS
from coincast_training.trainers.progress import Progress

with hidden(OPTIONAL_FOR_LIGHTGBM):
    import lightgbm

Floats = NDArray[np.float64]
SEEDS = (1, 2, 3, 4)
REFIT_DAYS = 120
ROUNDS = 60


def walk_mean(panel: Panel, plan: EvaluationPlan, progress: Progress) -> Rows:
    """Return the rows of `mean_lightgbm_seed<n>` at every horizon, and of `reversal` at one day."""
    coins = rows_of(panel, {**plan.reference, **panel}, DEFAULT_SPEC)
    parts = [_reversal(panel, plan)]
    cuts = plan.cuts(REFIT_DAYS)
    for j, h in enumerate(plan.horizons):
        for i, cut in enumerate(cuts):
            parts += _one_cut(coins, plan, h, cut)
            progress((j + (i + 1) / len(cuts)) / len(plan.horizons), f"raw mean at {h} days, {cut}")
    return join_rows(parts)


def _one_cut(
    coins: tuple[CoinRows, ...], plan: EvaluationPlan, horizon: int, cut: np.datetime64
) -> list[Rows]:
    day = int(cut.astype(np.int64))
    known = block_of(coins, 0, day - horizon + 1, horizon)
    inputs = joined(known.coins)
    scaled = known.returns / (np.exp(inputs.base) * np.sqrt(horizon))
    good = np.isfinite(scaled)
    days = plan.days_of(cut, REFIT_DAYS)
    ahead = block_of(coins, day, day + len(days), horizon)
    if good.sum() < MIN_ROWS or not len(ahead.day):
        return []
    now = joined(ahead.coins)
    data = lightgbm.Dataset(inputs.features[good], np.clip(scaled[good], -5, 5), params={"verbose": -1})
    data = data.construct()
    price, scale = np.exp(ahead.log_close), np.exp(now.base) * np.sqrt(horizon)
    out = []
    for seed in SEEDS:
        view = lightgbm.train(_params(seed), data, ROUNDS).predict(now.features, num_threads=1)
        point = price * np.exp(np.asarray(view) * scale)
        for i, coin in enumerate(coins):
            at = (ahead.coin == i) & np.isfinite(point)
            made = point_rows(
                f"mean_lightgbm_seed{seed}",
                coin.coin_id,
                origin=ahead.day[at].astype("datetime64[D]"),
                horizon=horizon,
                last_price=price[at],
                point=point[at],
            )
            out.append(made)
    return out


def _params(seed: int) -> dict[str, object]:
    return {
        "objective": "regression",
        "learning_rate": 0.03,
        "num_leaves": 15,
        "min_data_in_leaf": 200,
        "feature_fraction": 0.5,
        "bagging_fraction": 0.7,
        "bagging_freq": 1,
        "seed": seed,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "verbose": -1,
    }


def _reversal(panel: Panel, plan: EvaluationPlan) -> Rows:
    """Forecast a reversal of today's move; a larger move gives more confidence."""
    parts = []
    for coin, candles in panel.items():
        at = origins_of(candles, plan)
        returns = k.difference(np.log(candles.close), 1)
        moved = (returns / np.maximum(k.rolling_std(returns, 30), 1e-6))[at]
        made = point_rows(
            "reversal",
            coin,
            origin=candles.dates[at],
            horizon=1,
            last_price=candles.close[at],
            point=candles.close[at],
        )
        made.price_rise[:] = ndtr(-moved)
        parts.append(made)
    return join_rows(parts)
