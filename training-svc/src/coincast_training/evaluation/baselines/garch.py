"""GARCH baselines: normal GARCH(1,1), and GARCH(1,1)-t with filtered historical simulation.

The library arch estimates the parameters on an expanding window at every cut. The filter and the simulation
are vectorised here, since daily forecasts with arch would take hours. The simulation follows Barone-Adesi et
al. 1999 with mirrored residuals: the drift of unmirrored residuals costs 3 % of CRPS at thirty days, and the
baseline should be strong.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.special import ndtri

from coincast_modelkit.candles import Candles, Panel
from coincast_modelkit.forecasts import PROBABILITIES
from coincast_modelkit.intervals import symmetric_quantiles
from coincast_modelkit.models.ensemble.model import LEVELS
from coincast_training.evaluation.baselines.simple import origins_of
from coincast_training.evaluation.options import EvaluationPlan
from coincast_training.evaluation.rows import Rows, join_rows, point_rows
from coincast_training.optional_imports import OPTIONAL_FOR_ARCH, hidden
from coincast_training.trainers.progress import Progress

Floats = NDArray[np.float64]
MIN_RETURNS = 59
PATHS = 2000
BURN_IN = 20


@dataclass(frozen=True, slots=True)
class Parameters:
    """GARCH(1,1) of zero-mean returns in percent."""

    omega: float
    alpha: float
    beta: float

    def filtered(self, returns: Floats, start: float) -> Floats:
        """Return conditional variances (n + 1,): entry t is known before return t."""
        drive = self.omega + self.alpha * returns**2
        later = lfilter([1.0], [1.0, -self.beta], drive, zi=[self.beta * start])[0]
        return np.concatenate([[start], later])

    def sums(self, tomorrow: Floats, horizon: int) -> Floats:
        """Return the expected variance (n,) of the return over a horizon, given tomorrow's variance (n,)."""
        total, step = np.zeros_like(tomorrow), tomorrow
        for _ in range(horizon):
            total = total + step
            step = self.omega + (self.alpha + self.beta) * step
        return total


def fit_parameters(returns: Floats, distribution: Literal["normal", "t"]) -> Parameters:
    """Estimate the parameters with arch from returns in percent (n,)."""
    with hidden(OPTIONAL_FOR_ARCH):
        from arch import arch_model  # noqa: PLC0415 - slow to import

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # parameters of an optimiser that stops early are still usable
        model = arch_model(returns, mean="Zero", vol="GARCH", p=1, q=1, dist=distribution, rescale=False)
        found = model.fit(disp="off", show_warning=False).params
    return Parameters(float(found["omega"]), float(found["alpha[1]"]), float(found["beta[1]"]))


def walk_garch(panel: Panel, plan: EvaluationPlan, progress: Progress) -> Rows:
    """Return the rows of `garch_normal` and `garch_t_fhs` for every coin with MIN_RETURNS returns."""
    parts = []
    for i, candles in enumerate(panel.values()):
        for cut in plan.cuts():
            parts += _one_cut(candles, plan, cut)
        progress((i + 1) / len(panel), f"GARCH of {candles.coin_id}")
    return join_rows(parts)


def _one_cut(candles: Candles, plan: EvaluationPlan, cut: np.datetime64) -> list[Rows]:
    days = plan.days_of(cut)
    rows = origins_of(candles, plan)
    at = rows[(candles.dates[rows] >= days[0]) & (candles.dates[rows] <= days[-1])]
    returns = 100 * np.diff(np.log(candles.close))
    known = returns[: int(np.searchsorted(candles.dates, cut, side="right")) - 1]
    if not len(at) or len(known) < MIN_RETURNS or known.std() == 0:
        return []
    start = float(known.var())
    normal, student = fit_parameters(known, "normal"), fit_parameters(known, "t")
    out = []
    for name, found in (("garch_normal", normal), ("garch_t_fhs", student)):
        variances = found.filtered(returns[: at[-1]], start)
        tomorrow = variances[at]
        sizes = _simulated(found, known, variances, tomorrow, plan) if name == "garch_t_fhs" else None
        for j, h in enumerate(plan.horizons):
            variance = found.sums(tomorrow, h) / 1e4
            quantiles = np.sqrt(variance)[:, None] * ndtri(PROBABILITIES) if sizes is None else sizes[j]
            price = candles.close[at]
            out.append(
                point_rows(
                    name,
                    candles.coin_id,
                    origin=candles.dates[at],
                    horizon=h,
                    last_price=price,
                    point=price,
                    quantiles=quantiles,
                    variance=variance,
                )
            )
    return out


def _simulated(
    found: Parameters, known: Floats, variances: Floats, tomorrow: Floats, plan: EvaluationPlan
) -> list[Floats]:
    """Return quantiles (n, Q) at each horizon from paths of mirrored standardised residuals."""
    residuals = (known / np.sqrt(variances[: len(known)]))[BURN_IN:]
    rng = np.random.default_rng(plan.seed)
    longest = max(plan.horizons)
    sampled = residuals[rng.integers(len(residuals), size=(longest, PATHS))]
    sampled *= rng.choice([-1.0, 1.0], size=sampled.shape)
    variance = np.repeat(tomorrow[:, None], PATHS, axis=1)
    path, out = np.zeros_like(variance), {}
    for step in range(longest):
        shock = np.sqrt(variance) * sampled[step]
        path += shock
        variance = found.omega + found.alpha * shock**2 + found.beta * variance
        if step + 1 in plan.horizons:
            sizes = np.quantile(np.abs(path) / 100, LEVELS, axis=1).T
            sizes[:, 0] = 0.0
            out[step + 1] = symmetric_quantiles(sizes)
    return [out[h] for h in plan.horizons]
