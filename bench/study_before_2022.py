"""Study two choices on days before 2022 (docs/experiments.md): `python bench/study_before_2022.py FOLDER`.

The choices are the prior share of the network in the ensemble's pool, and whether the widths of lightgbm's
intervals are corrected by the coverage of earlier intervals. The study prints the CRPS skill in percent in
two periods of origins: 2019-07 to 2020-06 (A), and 2020-07 to 2021-12 (B). It takes ten minutes.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scoringrules
from numpy.typing import NDArray

from coincast_modelkit.candles import Panel
from coincast_modelkit.forecasts import PROBABILITIES
from coincast_modelkit.volatility import REGIMES
from coincast_training.evaluation.csv_loader import read_folder
from coincast_training.evaluation.metrics.significance import diebold_mariano, skill_percent
from coincast_training.evaluation.metrics.slices import CRPS_LEVELS, quantiles_at
from coincast_training.executors.inline import InlineExecutor
from coincast_training.trainers.ensemble.backtest import Walk
from coincast_training.trainers.ensemble.dataset import CoinTable, fold_days
from coincast_training.trainers.ensemble.params import EnsembleParams
from coincast_training.trainers.ensemble.rnn_member import RnnWalk
from coincast_training.trainers.lightgbm.heads import TreeRecipe
from coincast_training.trainers.lightgbm.params import LightgbmParams
from coincast_training.trainers.training_table import Table, choose_spec
from coincast_training.trainers.walk_forward import RECORD_HORIZONS, quantiles_of, walk

HORIZONS = (1, 7, 14, 30)
SHARES = (0.0, 0.1, 0.2)
FIRST, MIDDLE, LAST = (np.datetime64(d, "D") for d in ("2019-07-01", "2020-07-01", "2021-12-31"))
Floats = NDArray[np.float64]
Days = NDArray[np.datetime64]
Store = dict[tuple[Any, ...], Any]


def crps(quantiles: Floats, returns: Floats) -> Floats:
    """Return the CRPS of the log return over CRPS_LEVELS, which weigh the same; shape (n,)."""
    table = quantiles_at(quantiles, CRPS_LEVELS)
    return np.asarray(scoringrules.crps_quantile(returns, table, CRPS_LEVELS, backend="numpy"))


def coverage(quantiles: Floats, returns: Floats, level: float) -> float:
    """Return the percentage of outcomes inside the central interval of a level (0.8 for 80 %)."""
    low, high = (int(np.argmin(np.abs(PROBABILITIES - p))) for p in ((1 - level) / 2, (1 + level) / 2))
    return 100 * float(np.mean((returns >= quantiles[:, low]) & (returns <= quantiles[:, high])))


def compare(loss: Floats, base: Floats, days: Days, horizon: int) -> str:
    """Return the skill on A and on B, and the Diebold-Mariano statistic of both together.

    Args:
        loss: The loss of each forecast, (n,).
        base: The loss of the forecasts to compare with, (n,).
        days: The origins, (n,).
        horizon: The horizon in days.
    """
    early = days < MIDDLE
    a, b = (skill_percent(loss[part], base[part]) for part in (early, ~early))
    return f"A {a:5.2f}, B {b:5.2f}, Diebold-Mariano {diebold_mariano(loss, base, days, horizon):4.1f}"


def score(record: Walk, horizon: int, last: int) -> tuple[Floats, Days]:
    """Return the CRPS and the origin of every forecast of a pool from FIRST on whose outcome is known."""
    parts = record.record(horizon, last)
    quantiles = np.concatenate([q for *_, q in parts])
    returns = np.concatenate([b.returns for b, *_ in parts])
    days = np.concatenate([b.day for b, *_ in parts]).astype("datetime64[D]")
    kept = (days >= FIRST) & np.isfinite(returns) & np.isfinite(quantiles).all(axis=1)
    return crps(quantiles[kept], returns[kept]), days[kept]


def study_network(source: CoinTable) -> None:
    """Compare the pool without the network with the pool that has it, at every prior share."""
    last = max(int(c.days[-1]) for c in source.coins)
    store: Store = {}
    for horizon in HORIZONS:
        base, days = score(pool(source, None, last, store), horizon, last)
        for share in SHARES:
            loss, _ = score(pool(source, share, last, store), horizon, last)
            print(f"network, prior share {share}, {horizon:2d} d: {compare(loss, base, days, horizon)}")


def pool(source: CoinTable, share: float | None, last: int, store: Store) -> Walk:
    """Return a walk with the network at a prior share, or without it (None).

    `store` keeps fits for the next walk; the pools in it have another share and are dropped.
    """
    for key in [k for k in store if k[0] in ("pool", "corrected pool")]:
        del store[key]
    lstm = {"use": "on", "prior": 0.0 if share is None else share}
    params = EnsembleParams.of({"anchors": list(HORIZONS), "lstm": lstm})
    if share is None:
        return Walk(source.coins, params, 1, store)
    folds = [*fold_days(source.coins, last, params.fold_days), last]
    rnn = RnnWalk.of(source, HORIZONS, params.lstm, folds, seed=1, store=store)
    return Walk(source.coins, params, 1, store, rnn)


def study_widths(panel: Panel) -> None:
    """Compare lightgbm's walk-forward record with and without the correction of the widths."""
    params = LightgbmParams.model_validate({"first_test": "2017-07-01", "step_days": 120})
    table = Table(panel, panel, choose_spec(panel), RECORD_HORIZONS)
    walked = walk(
        TreeRecipe(table, params, 1), params, executor=InlineExecutor(), progress=lambda f, stage: None
    )
    rows, known, record = table.rows, walked.known, walked.record
    pairs = zip(known.seen, known.used, strict=True)
    plain = np.concatenate([quantiles_of(rows, outputs, used, params) for outputs, used in pairs])
    at = np.concatenate([outputs.at for outputs in known.seen])
    for horizon in HORIZONS:
        j = RECORD_HORIZONS.index(horizon)
        returns, kept = rows.returns[at, rows.column(horizon)], record.horizons == horizon
        ended = np.isfinite(returns)
        sets: Mapping[str, Floats] = {"before": plain[ended, j], "after": record.log_return_quantiles[kept]}
        days, late = record.origins[kept], record.origins[kept] >= FIRST
        y = returns[ended][late]
        loss = {name: crps(q[late], y) for name, q in sets.items()}
        skill = compare(loss["after"], loss["before"], days[late], horizon)
        print(f"widths corrected, {horizon:2d} d: {skill}")
        for level in (0.8, 0.95):
            text = ", ".join(f"{coverage(q[late], y, level):.1f} {name}" for name, q in sets.items())
            print(f"  coverage of the {100 * level:.0f} % interval: {text}")
        regime = rows.regime[at][ended][late]
        for name, q in sets.items():
            parts = [coverage(q[late][regime == r], y[regime == r], 0.8) for r in range(REGIMES)]
            print(
                f"  of the 80 % interval, calm, usual, wild days {name}: {[round(part, 1) for part in parts]}"
            )


def main() -> None:
    """Walk forward on the days until LAST, and print both comparisons."""
    whole = read_folder(Path(sys.argv[1])).panel
    cut = {coin: candles.until(LAST) for coin, candles in whole.items()}
    panel = {coin: candles for coin, candles in cut.items() if len(candles)}
    study_widths(panel)
    study_network(CoinTable(panel, panel))


if __name__ == "__main__":
    main()
