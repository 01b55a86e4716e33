"""Compare memories of the tail's shape: `python bench/study_tail_shape.py WALK.npz [FIRST LAST] [DAYS]`.

WALK.npz is the file of `bench/study_calibration.py`. The sizes of the ensemble up to a level (0.8 or 0.9)
stay as they are. Beyond it they become the size at that level times ratios, which are quantiles of all
residuals with a shorter half-life than that of the sizes. The choice was made on origins FIRST 2018-01-01 TO
2021-12-31, the default.

Each line has, over all coins at DAYS ahead (1): the exceedances of the lower quantiles, the mean loss beyond
them in units of the expected shortfall, and the gain in pinball loss over the sizes as they are, at 95, 97.5
and 99 %; the same ratios of bitcoin; and the coverage of the central 95 and 99 % intervals.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from study_calibration import history_of

from coincast_modelkit.forecasts import PROBABILITIES
from coincast_modelkit.intervals import cautious_factors, symmetric_quantiles, weighted_sizes
from coincast_modelkit.models.ensemble.horizon_pool import Pool
from coincast_modelkit.models.ensemble.model import LEVELS
from coincast_training.trainers.ensemble.pooling import PoolParams, correction, fit_pool

TAILS = (0.05, 0.025, 0.01)
PATHS = 1000
# By the day of the fold: the fitted pool, and the log scales that it gives the earlier rows.
POOLS: dict[int, tuple[Pool, NDArray[np.float64]]] = {}
Floats = NDArray[np.float64]


def level_at(level: float) -> int:
    """Return the index of the level nearest to `level`."""
    return int(np.argmin(np.abs(LEVELS - level)))


def sizes_of(c: dict[str, Any], horizon: int, half_life: float | None, join: float) -> tuple[Floats, Floats]:
    """Return the scale (n,) and the corrected sizes (n, L), fold by fold; see the module.

    Args:
        c: The columns of the walk at the horizon.
        horizon: Days ahead.
        half_life: Half-life of the ratios in days; None keeps the sizes as they are.
        join: The level beyond which the ratios are used.
    """
    params, n = PoolParams(tail_periods=1e9), len(c["day"])
    prior = np.asarray(params.prior) / np.sum(params.prior)
    scale, sizes = np.full(n, np.nan), np.full((n, len(LEVELS)), np.nan)
    at, at_80 = level_at(join), level_at(0.8)
    raw_80 = np.full(n, np.nan)
    for fold in np.unique(c["fold"]):
        before, now = c["fold"] < fold, c["fold"] == fold
        key = int(fold)
        if key not in POOLS:
            seen = history_of(c, before)
            fitted = fit_pool(seen, horizon, key, params, prior)
            POOLS[key] = fitted, fitted.log_scale(seen.members, seen.regime)
        fitted, earlier = POOLS[key]
        table_sizes = fitted.sizes.copy()
        known = (c["day"][before] + horizon <= fold) & np.isfinite(c["returns"][before])
        if half_life is not None and known.sum() >= 200:
            residuals = c["returns"][before][known] / np.exp(earlier[known])
            recency = 0.5 ** ((fold - c["day"][before][known]) / half_life)
            shape = weighted_sizes(residuals, recency, LEVELS)
            table_sizes[:, at:] = table_sizes[:, [at]] * (shape[at:] / shape[at])
        scale[now] = fitted.log_scale(c["members"][now], c["regime"][now])
        own = np.maximum.accumulate(table_sizes[c["regime"][now]] * fitted.weekend[c["weekend"][now]], axis=1)
        raw_80[now] = own[:, at_80]
        share = np.abs(c["returns"]) / (np.exp(scale) * raw_80)
        ended = before & (c["day"] + horizon <= fold) & np.isfinite(share)
        factor = correction(share[ended], fold - c["day"][ended], horizon, params)
        sizes[now] = own * cautious_factors(np.full(3, factor))[c["regime"][now]][:, None]
    return scale, sizes


def measures(returns: Floats, scale: Floats, sizes: Floats, coin: Any) -> dict[str, Any]:
    """Return exceedances, loss over shortfall, pinball losses and coverage of n forecasts."""
    quantiles = symmetric_quantiles(np.exp(scale)[:, None] * sizes)
    grid = (np.arange(1, PATHS + 1) - 0.5) / PATHS
    low = grid[grid < 0.06]
    found = np.array([np.interp(low, PROBABILITIES, row) for row in quantiles])
    moves, path = np.expm1(returns), np.expm1(found)
    out: dict[str, Any] = {}
    for tail in TAILS:
        count = round(tail * PATHS)
        value_at_risk = (path[:, count - 1] + path[:, count]) / 2
        shortfall = path[:, :count].mean(axis=1)
        hit = moves < value_at_risk
        bitcoin = hit & (coin == "bitcoin")
        gap = moves - value_at_risk
        out[f"hits {tail}"] = 100 * hit.mean()
        out[f"ratio {tail}"] = (moves[hit] / shortfall[hit]).mean()
        out[f"bitcoin {tail}"] = (moves[bitcoin] / shortfall[bitcoin]).mean(), int(bitcoin.sum())
        out[f"pinball {tail}"] = np.where(gap >= 0, tail * gap, (tail - 1) * gap)
    for level in (0.95, 0.99):
        size = np.exp(scale) * sizes[:, level_at(level)]
        out[f"cover {level}"] = 100 * (np.abs(returns) <= size).mean()
    return out


def main() -> None:
    """Print a line for each memory and level of joining."""
    saved = np.load(sys.argv[1], allow_pickle=False)
    given = sys.argv[2:4] if len(sys.argv) > 3 else ["2018-01-01", "2021-12-31"]
    first, last = (int(np.datetime64(text, "D").astype(int)) for text in given)
    horizon = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    names = ("fold", "coin", "day", "regime", "weekend", "returns", "members", "log_volatility")
    c = {name: saved[f"{name}_{horizon}"] for name in names}
    coins = saved["coins"][c["coin"]]
    base: dict[str, Any] = {}
    choices: list[tuple[float | None, float]] = [(None, 0.9)]
    choices += [
        (h, join) for join in (0.8, 0.9) for h in (730.0, 540.0, 365.0, 270.0, 180.0, 120.0, 90.0, 60.0)
    ]
    for half_life, join in choices:
        scale, sizes = sizes_of(c, horizon, half_life, join)
        kept = (c["day"] >= first) & (c["day"] + horizon <= last) & np.isfinite(c["returns"] + scale)
        m = measures(c["returns"][kept], scale[kept], sizes[kept], coins[kept])
        base = base or m
        name = "as they are" if half_life is None else f"{half_life:.0f} days beyond {join}"
        hits = " ".join(f"{m[f'hits {t}']:.2f}" for t in TAILS)
        ratio = " ".join(f"{m[f'ratio {t}']:.3f}" for t in TAILS)
        own = " ".join(f"{m[f'bitcoin {t}'][0]:.3f} [{m[f'bitcoin {t}'][1]}]" for t in TAILS)
        gains = (100 * (1 - m[f"pinball {t}"].mean() / base[f"pinball {t}"].mean()) for t in TAILS)
        gain = " ".join(f"{g:+.2f}" for g in gains)
        cover = " ".join(f"{m[f'cover {level}']:.2f}" for level in (0.95, 0.99))
        print(f"{name:22s} | {hits} | {ratio} | {gain} | {own} | {cover}", flush=True)


if __name__ == "__main__":
    main()
