"""Compare rules that correct interval sizes: `python bench/study_calibration.py FOLDER WALK.npz [FROM TO]`.

The first run walks the ensemble's members forward (about five minutes on a quiet core) and saves their
forecasts to WALK.npz. Later runs read that file, and each rule takes seconds. The choice was made on origins
FROM 2017-07-01 TO 2021-12-31, the default. LEFT_OUT=coin,coin in the environment leaves these coins out of
all learning, and scores them alone.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scoringrules
from numpy.typing import NDArray

from coincast_modelkit.candles import Panel
from coincast_modelkit.features import DEFAULT_SPEC
from coincast_modelkit.intervals import cautious_factors, symmetric_quantiles, weighted_sizes
from coincast_modelkit.models.ensemble.horizon_pool import outlook_of
from coincast_modelkit.models.ensemble.model import LEVELS
from coincast_modelkit.volatility import REGIMES
from coincast_training.evaluation.csv_loader import read_folder
from coincast_training.evaluation.metrics.significance import hac_mean
from coincast_training.evaluation.metrics.slices import CRPS_LEVELS, quantiles_at
from coincast_training.evaluation.outcomes import causal_terciles
from coincast_training.trainers.ensemble.backtest import Walk
from coincast_training.trainers.ensemble.dataset import block_of, fold_days, rows_of
from coincast_training.trainers.ensemble.params import EnsembleParams
from coincast_training.trainers.ensemble.pooling import PoolHistory, PoolParams, fit_pool

HORIZONS = (1, 7, 14, 30)
FOLD_DAYS = 120
HALF_LIFE_DAYS = 730.0
PRIOR_PERIODS = 20.0
MIN_ROWS = 200
AT_80 = int(np.argmin(np.abs(LEVELS - 0.8)))
COLUMNS = ("fold", "coin", "day", "regime", "weekend", "tercile", "returns", "log_volatility", "members")
Floats = NDArray[np.float64]
# Returns a factor of the sizes for each regime, (REGIMES,). The arguments are, for n known outcomes, their
# ratios to the 80 % sizes, their ages in days and their regimes, each (n,), and the horizon in days.
Rule = Callable[[Floats, Floats, NDArray[np.int64], int], Floats]


@dataclass(slots=True, eq=False)
class Rows:
    """The n forecasts at one horizon, with their outcomes.

    `scale` is the pooled log volatility, (n,), and `sizes` the uncorrected interval sizes by level, (n, L).
    `learnt` marks the rows of coins that the members and rules learn from. The others are (n,) as well.
    """

    horizon: int
    fold: Any
    day: Any
    regime: Any
    tercile: Any
    returns: Floats
    scale: Floats
    sizes: Floats
    learnt: Any


def walk(panel: Panel, left_out: set[str], file: Path) -> None:
    """Walk the members forward, and save their out-of-sample forecasts with the outcomes to a file."""
    every = rows_of(panel, panel, DEFAULT_SPEC)
    learnt = tuple(c for c in every if c.coin_id not in left_out)
    params = EnsembleParams.of({"anchors": list(HORIZONS), "fold_days": FOLD_DAYS, "lstm": {"use": "off"}})
    members = Walk(learnt, params, 1, {})
    last = max(int(c.days[-1]) for c in every)
    terciles = {c.coin_id: (int(c.days[0]), causal_terciles(panel[c.coin_id].on_every_day())) for c in every}
    out: dict[str, list[Any]] = {f"{name}_{h}": [] for name in COLUMNS for h in HORIZONS}
    for day in fold_days(learnt, last, FOLD_DAYS):
        for h in HORIZONS:
            block = block_of(every, day, day + FOLD_DAYS, h)
            found = members.members_of(h, day, block) if len(block.day) else None
            if found is None:
                continue
            tercile = np.empty(len(block.day), dtype=np.int64)
            for i, coin in enumerate(every):
                first, known = terciles[coin.coin_id]
                tercile[block.coin == i] = known[block.day[block.coin == i] - first]
            weekday = (block.day + 3) % 7
            columns = {
                "fold": np.full(len(block.day), day),
                "coin": block.coin,
                "day": block.day,
                "regime": block.regime,
                "weekend": ((weekday == 4) | (weekday == 5)).astype(np.int64),
                "tercile": tercile,
                "returns": block.returns,
                "log_volatility": block.log_volatility,
                "members": found,
            }
            for name, values in columns.items():
                out[f"{name}_{h}"].append(values)
        members.store.clear()
    names = np.array([c.coin_id for c in every])
    np.savez_compressed(
        file, allow_pickle=False, coins=names, **{n: np.concatenate(v) for n, v in out.items()}
    )


def history_of(c: dict[str, Any], rows: NDArray[np.bool_]) -> PoolHistory:
    """Return the chosen rows of a walk at one horizon, as the history that a pool is fitted on."""
    columns = ("members", "returns", "log_volatility", "regime", "weekend", "day")
    chosen = {name: c[name][rows] for name in columns}
    outlook, none = outlook_of(chosen["members"]), np.empty((int(rows.sum()), 0))
    return PoolHistory(**chosen, outlook=outlook, random_sign_returns=none)


def pool(saved: Any, horizon: int, left_out: set[str]) -> Rows:
    """Pool the members at a horizon, fold by fold, as the ensemble does before it corrects the sizes."""
    c = {name: saved[f"{name}_{horizon}"] for name in COLUMNS}
    learnt = ~np.isin(saved["coins"][c["coin"]], list(left_out))
    params, scale = PoolParams(), np.full(len(c["day"]), np.nan)
    sizes = np.full((len(c["day"]), len(LEVELS)), np.nan)
    prior = np.asarray(params.prior) / np.sum(params.prior)
    for fold in np.unique(c["fold"]):
        before, now = learnt & (c["fold"] < fold), c["fold"] == fold
        fitted = fit_pool(history_of(c, before), horizon, int(fold), params, prior)
        scale[now] = fitted.log_scale(c["members"][now], c["regime"][now])
        sizes[now] = fitted.sizes[c["regime"][now]] * fitted.weekend[c["weekend"][now]]
    sizes = np.maximum.accumulate(sizes, axis=1)
    return Rows(horizon, c["fold"], c["day"], c["regime"], c["tercile"], c["returns"], scale, sizes, learnt)


def correct(rows: Rows, rule: Rule) -> Floats:
    """Correct the sizes (n, L) by a rule, fold by fold, from the outcomes that were known before the fold."""
    share = np.abs(rows.returns) / (np.exp(rows.scale) * rows.sizes[:, AT_80])
    out = rows.sizes.copy()
    for fold in np.unique(rows.fold):
        known = rows.learnt & (rows.day + rows.horizon <= fold) & np.isfinite(share)
        if known.sum() < MIN_ROWS:
            continue
        age = (fold - rows.day[known]).astype(np.float64)
        found = rule(share[known], age, rows.regime[known], rows.horizon)
        now = rows.fold == fold
        out[now] *= found[rows.regime[now]][:, None]
    return out


def factor(share: Floats, age: Floats, half_life: float = HALF_LIFE_DAYS) -> float:
    """Return the factor with which the 80 % sizes would have covered 80 % of the outcomes.

    Args:
        share: The ratios of absolute outcomes to their 80 % sizes, (n,).
        age: The ages of the outcomes in days, (n,).
        half_life: The days after which an outcome weighs half.
    """
    return float(weighted_sizes(share, 0.5 ** (age / half_life), np.array([0.8]))[0])


def periods(age: Floats, horizon: int, half_life: float = HALF_LIFE_DAYS) -> float:
    """Return the effective number of periods of a horizon without overlap (Kish); new ones weigh more."""
    weight = 0.5 ** (np.unique(age // horizon) * horizon / half_life)
    return float(weight.sum() ** 2 / (weight**2).sum())


def same(value: float) -> Floats:
    """Return the same factor for all regimes."""
    return np.full(REGIMES, value)


def shrunk(share: Floats, age: Floats, horizon: int, half_life: float = HALF_LIFE_DAYS) -> float:
    """Return the factor shrunk towards one: the fewer periods, the nearer to one."""
    n = periods(age, horizon, half_life)
    return factor(share, age, half_life) ** (n / (n + PRIOR_PERIODS))


def by_regime(share: Floats, age: Floats, regime: NDArray[np.int64], horizon: int) -> Floats:
    """Return the factor of each regime, shrunk towards that of all days."""
    every = shrunk(share, age, horizon)
    parts = [regime == r for r in range(REGIMES)]
    return np.array(
        [every * (shrunk(share[p] / every, age[p], horizon) if p.sum() >= MIN_ROWS else 1.0) for p in parts]
    )


def risk_controlled(share: Floats, age: Floats, regime: NDArray[np.int64], horizon: int) -> Floats:
    """Return a shrunk factor for a raised level, which allows for one more period.

    This is conformal risk control over periods.
    """
    n = periods(age, horizon)
    level = np.array([min(0.8 * (n + 1) / n, 0.95)])
    found = float(weighted_sizes(share, 0.5 ** (age / HALF_LIFE_DAYS), level)[0])
    return same(found ** (n / (n + PRIOR_PERIODS)))


def bounded_in_calm(factors: Floats) -> Floats:
    """Raise the factor of the calm regime to at least one, the pool's own sizes."""
    return np.array([max(factors[0], 1.0), *factors[1:]])


RULES: dict[str, Rule] = {
    "one factor (before)": lambda s, a, r, h: same(factor(s, a)),
    "no correction": lambda s, a, r, h: same(1.0),
    "180 periods, at most two years": lambda s, a, r, h: same(factor(s, a, min(180.0 * h, HALF_LIFE_DAYS))),
    "half-life of four years": lambda s, a, r, h: same(factor(s, a, 1460.0)),
    "shrunk to one by periods": lambda s, a, r, h: same(shrunk(s, a, h)),
    "by regime, shrunk by periods": by_regime,
    "risk control over periods": risk_controlled,
    "shrunk, calm not below one": lambda s, a, r, h: bounded_in_calm(same(shrunk(s, a, h))),
    "calm not below one": lambda s, a, r, h: bounded_in_calm(same(factor(s, a))),
    "calm narrowed by half": lambda s, a, r, h: cautious_factors(same(factor(s, a))),
    "every narrowing by half, after 180 periods": lambda s, a, r, h: same(
        cautious_factors(same(factor(s, a, min(180.0 * h, HALF_LIFE_DAYS))))[0]
    ),
    "the same after 180 periods (chosen)": lambda s, a, r, h: cautious_factors(
        same(factor(s, a, min(180.0 * h, HALF_LIFE_DAYS)))
    ),
}


def losses(rows: Rows, sizes: Floats, kept: NDArray[np.bool_]) -> Floats:
    """Return the CRPS of the log return of the kept rows, (m,)."""
    quantiles = symmetric_quantiles(np.exp(rows.scale[kept])[:, None] * sizes[kept])
    table = quantiles_at(quantiles, CRPS_LEVELS)
    return np.asarray(scoringrules.crps_quantile(rows.returns[kept], table, CRPS_LEVELS, backend="numpy"))


def line(rows: Rows, sizes: Floats, base: Floats, kept: NDArray[np.bool_]) -> str:
    """Return the skill in CRPS and the coverage of the 80 % interval, as text.

    Coverage is given overall, by tercile of volatility, and by year with its standard error.

    Args:
        rows: The forecasts.
        sizes: Their corrected sizes, (n, L).
        base: The sizes to compare with, (n, L).
        kept: Which forecasts count, (n,).
    """
    skill = 100 * (1 - losses(rows, sizes, kept).mean() / losses(rows, base, kept).mean())
    size = np.exp(rows.scale[kept]) * sizes[kept, AT_80]
    inside = 100.0 * (np.abs(rows.returns[kept]) <= size)
    days = rows.day[kept].astype("datetime64[D]")
    terciles = [float(inside[rows.tercile[kept] == t].mean()) for t in range(3)]
    years = days.astype("datetime64[Y]").astype(int) + 1970
    by_year = []
    for year in np.unique(years):
        part = years == year
        _, error = hac_mean(inside[part], days[part], rows.horizon)
        by_year.append(f"{year} {inside[part].mean():.1f} ({error:.1f})")
    parts = " / ".join(f"{t:.1f}" for t in terciles)
    return f"CRPS {skill:+.2f} %, 80 %: {inside.mean():.1f}, {parts}; {', '.join(by_year)}"


def main() -> None:
    """Walk forward if the file does not exist yet, and print a line for each horizon and rule."""
    folder, file = Path(sys.argv[1]), Path(sys.argv[2])
    given = sys.argv[3:5] if len(sys.argv) > 4 else ["2017-07-01", "2021-12-31"]
    first, last = (int(np.datetime64(text, "D").astype(int)) for text in given)
    left_out = {c for c in os.environ.get("LEFT_OUT", "").split(",") if c}
    if not file.exists():
        walk(read_folder(folder).panel, left_out, file)
    saved = np.load(file, allow_pickle=False)
    for horizon in HORIZONS:
        rows = pool(saved, horizon, left_out)
        kept = (rows.day >= first) & (rows.day <= last) & np.isfinite(rows.returns) & np.isfinite(rows.scale)
        kept &= (~rows.learnt if left_out else True) & (rows.day + horizon <= last)
        base = correct(rows, RULES["one factor (before)"])
        for name, rule in RULES.items():
            print(f"{horizon:2d} d, {name}: {line(rows, correct(rows, rule), base, kept)}", flush=True)


if __name__ == "__main__":
    main()
