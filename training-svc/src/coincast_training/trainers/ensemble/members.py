"""Fit the members of the ensemble at one horizon."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coincast_modelkit.features import FeatureSpec
from coincast_modelkit.models.ensemble.horizon_pool import Scales
from coincast_modelkit.models.scales import LONG_RUN_DAYS, SHORT, Garch, LinearScale, joined, linear_design
from coincast_training.optional_imports import OPTIONAL_FOR_ARCH, OPTIONAL_FOR_LIGHTGBM, hidden
from coincast_training.trainers.ensemble.dataset import FIRST_ROW, Block, CoinRows

with hidden(OPTIONAL_FOR_LIGHTGBM):
    import lightgbm

Floats = NDArray[np.float64]
MIN_ROWS = 150
MAX_PERSISTENCE = 0.995
FREEDOM = 5.0


@dataclass(frozen=True, slots=True)
class TreeParams:
    """Parameters of the trees; with few rows, `min_leaf_share` of them limits `min_data_in_leaf`."""

    learning_rate: float = 0.03
    num_leaves: int = 7
    min_data_in_leaf: int = 300
    min_leaf_share: float = 0.03
    feature_fraction: float = 0.5
    bagging_fraction: float = 0.7
    lambda_l2: float = 50.0
    max_bin: int = 63
    rounds: int = 150
    residual_rounds: int = 100
    size_rounds: int = 160

    def lightgbm(self, rows: int, seed: int) -> dict[str, object]:
        """Return the parameters for LightGBM; the same rows and seed give exactly the same trees."""
        return {
            "objective": "regression",
            "learning_rate": self.learning_rate,
            "num_leaves": self.num_leaves,
            "min_data_in_leaf": max(10, min(self.min_data_in_leaf, int(rows * self.min_leaf_share))),
            "feature_fraction": self.feature_fraction,
            "bagging_fraction": self.bagging_fraction,
            "bagging_freq": 1,
            "lambda_l2": self.lambda_l2,
            "max_bin": self.max_bin,
            "seed": seed,
            "num_threads": 1,
            "deterministic": True,
            "force_row_wise": True,
            "verbose": -1,
        }


def fit_scales(
    block: Block,
    horizon: int,
    garch: Garch,
    spec: FeatureSpec,
    *,
    trees: TreeParams,
    penalty: float,
    seed: int,
) -> Scales:
    """Fit the members on the rows with a known outcome.

    Args:
        block: Rows at one horizon.
        horizon: Days ahead.
        garch: GARCH parameters, fitted on all coins.
        spec: Features of the rows.
        trees: Parameters of the trees.
        penalty: Penalty of the ridge regression.
        seed: Seed of the trees.

    Raises:
        ValueError: Fewer than MIN_ROWS rows have a known outcome.
    """
    inputs = joined(block.coins)
    chosen = np.isfinite(block.returns) & np.isfinite(block.log_volatility) & np.isfinite(inputs.base)
    if chosen.sum() < MIN_ROWS:
        raise ValueError(f"{int(chosen.sum())} days with a known outcome; {MIN_ROWS} are needed")
    target = block.log_volatility[chosen] - inputs.base[chosen] - 0.5 * np.log(horizon)
    design = linear_design(inputs, spec)[chosen]
    har = ridge(design, target, penalty)
    left = target - har.forecast(design)
    size = np.abs(block.returns[chosen]) / np.exp(block.log_volatility[chosen] - left)
    offset = float(np.log(np.maximum(np.median(size), 1e-6)) + 0.2)
    params = trees.lightgbm(int(chosen.sum()), seed)
    data = lightgbm.Dataset(inputs.features[chosen], target, params=params).construct()

    def grow(label: Floats, rounds: int, objective: object = "regression") -> lightgbm.Booster:
        return lightgbm.train({**params, "objective": objective}, data.set_label(label), rounds)

    return Scales(
        horizon=horizon,
        har=har,
        har_short=ridge(linear_design(inputs, spec, SHORT)[chosen], target, penalty * horizon),
        garch=garch,
        constant=float(block.log_volatility[chosen].mean()),
        size_offset=offset,
        boosters={
            "boosted": grow(target, trees.rounds),
            "boosted_har": grow(left, trees.residual_rounds),
            "boosted_size": grow(size / np.exp(offset), trees.size_rounds, student_t(FREEDOM)),
        },
    )


def ridge(design: Floats, target: Floats, penalty: float) -> LinearScale:
    """Fit a ridge regression on standardised columns; a constant column gets no weight."""
    centre, spread = design.mean(axis=0), design.std(axis=0)
    spread = np.where(spread > 1e-9, spread, np.inf)
    z = (design - centre) / spread
    mean = float(target.mean())
    gram = z.T @ z + penalty * np.eye(z.shape[1])
    weights = np.linalg.solve(gram, z.T @ (target - mean))
    return LinearScale(centre, np.where(np.isfinite(spread), spread, 1e9), weights, mean)


def student_t(freedom: float) -> Callable[[Floats, lightgbm.Dataset], tuple[Floats, Floats]]:
    """Return a LightGBM objective: the negative log likelihood of absolute returns under a Student t.

    The output of the trees is the log scale of the distribution.
    """

    def objective(output: Floats, data: lightgbm.Dataset) -> tuple[Floats, Floats]:
        share = np.asarray(data.get_label(), dtype=np.float64) ** 2 * np.exp(-2 * output) / freedom
        gradient = 1 - (freedom + 1) * share / (1 + share)
        return np.asarray(gradient), np.asarray(np.maximum(2 * (freedom + 1) * share / (1 + share) ** 2, 0.2))

    return objective


def fit_garch(coins: Sequence[CoinRows], cut: int) -> Garch:
    """Return the median of the GARCH(1,1)-t fits of all coins, on returns up to day `cut`, included.

    Args:
        coins: Rows of every coin.
        cut: The newest day of the fit, since 1970.

    Raises:
        ValueError: No coin has enough returns.
    """
    known = [c.inputs.squared[1 : int(np.searchsorted(c.days, cut, side="right"))] for c in coins]
    signs = [np.sign(np.diff(c.log_close))[: len(k)] for c, k in zip(coins, known, strict=True)]
    long_run = [float(np.mean(k[-LONG_RUN_DAYS:])) for k in known if len(k) > FIRST_ROW]
    if not long_run:
        raise ValueError(f"no coin has more than {FIRST_ROW} returns")
    fits = [_garch_t(s * np.sqrt(k)) for s, k in zip(signs, known, strict=True) if len(k) >= 250]
    alpha, beta = (float(x) for x in np.median(fits, axis=0)) if fits else (0.1, 0.85)
    if alpha + beta > MAX_PERSISTENCE:
        beta = MAX_PERSISTENCE - alpha
    return Garch(alpha=alpha, beta=beta, long_run=float(np.median(long_run)))


def _garch_t(returns: Floats) -> tuple[float, float]:
    with hidden(OPTIONAL_FOR_ARCH):
        from arch import arch_model  # noqa: PLC0415 - slow to import

    scale = float(returns.std()) or 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # parameters are usable even if the optimiser stops early
        model = arch_model(returns / scale, mean="Zero", vol="GARCH", p=1, q=1, dist="t", rescale=False)
        found = model.fit(disp="off", show_warning=False).params
    return float(found["alpha[1]"]), float(found["beta[1]"])
