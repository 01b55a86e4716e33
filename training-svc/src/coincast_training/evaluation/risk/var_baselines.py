"""Value at risk by the reference methods: historical simulation, GARCH(1,1)-t and its filtered simulation.

Each method gives the lower quantiles and tail means of a basket's return on every day, from data up to the
close of that day. GARCH parameters are estimated with `arch` on an expanding window.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.stats import t as student_t

from coincast_training.optional_imports import OPTIONAL_FOR_ARCH, hidden

Floats = NDArray[np.float64]
HISTORY = 250
REFIT_DAYS = 60
PATHS = 1000
BURN_IN = 20
ALPHAS = (0.05, 0.025, 0.01)


@dataclass(frozen=True, slots=True, eq=False)
class TailForecasts:
    """Quantiles and tail means of returns at ALPHAS, (T, 3) each; negative for losses, NaN if unknown."""

    quantiles: Floats
    shortfalls: Floats


def tails_of(samples: Floats) -> tuple[Floats, Floats]:
    """Return the Hazen quantiles and the tail means of samples (..., m) at ALPHAS, (..., 3) each."""
    m = samples.shape[-1]
    most = min(int(np.ceil(m * ALPHAS[0])) + 1, m - 1)
    low = np.sort(np.partition(samples, most, axis=-1)[..., : most + 1], axis=-1)
    quantiles, shortfalls = [], []
    for alpha in ALPHAS:
        at = min(max(m * alpha - 0.5, 0.0), m - 1.0)
        left = int(at)
        quantiles.append(low[..., left] + (at - left) * (low[..., min(left + 1, most)] - low[..., left]))
        size = max(round(m * alpha, 9), 1e-9)
        whole = int(size)
        total = low[..., :whole].sum(axis=-1) + (size - whole) * low[..., whole]
        shortfalls.append(total / size)
    return np.stack(quantiles, axis=-1), np.stack(shortfalls, axis=-1)


def historical_simulation(past: Floats, rows: NDArray[np.int64]) -> TailForecasts:
    """Return the tails of the last HISTORY returns before each forecast.

    Args:
        past: Returns by the day on which they ended, (T,), NaN before the first.
        rows: Positions of the days of the forecasts, (m,).
    """
    windows = np.lib.stride_tricks.sliding_window_view(past, HISTORY)
    at = rows - HISTORY + 1
    out = np.full((2, len(rows), len(ALPHAS)), np.nan)
    good = at >= 0
    out[0, good], out[1, good] = tails_of(windows[at[good]])
    return TailForecasts(out[0], out[1])


def garch_tails(
    daily: Floats, rows: NDArray[np.int64], horizon: int, *, seed: int, names: tuple[str, ...]
) -> dict[str, TailForecasts]:
    """Return the tails by GARCH-t and by filtered historical simulation on it.

    Args:
        daily: Daily returns of a basket, (T,), NaN before the first.
        rows: Positions of the days of the forecasts, increasing, (m,).
        horizon: Days ahead; beyond one day, `names` may only have `garch_t_fhs`.
        seed: Random seed of the simulation.
        names: Methods to compute, of `garch_t` and `garch_t_fhs`.
    """
    first = int(np.flatnonzero(np.isfinite(daily))[0])
    known, at = 100 * daily[first:], rows - first
    made = {name: np.full((2, len(rows), len(ALPHAS)), np.nan) for name in names}
    for begin in range(0, len(rows), REFIT_DAYS):
        part = slice(begin, min(begin + REFIT_DAYS, len(rows)))
        seen = known[: at[begin] + 1]
        if len(seen) < 2 * HISTORY // 3 or seen.std() == 0:
            continue
        fit = _fit(seen)
        variances = fit.filtered(known[: at[part][-1] + 1])
        tomorrow = variances[at[part] + 1]
        residuals = (seen / np.sqrt(variances[: len(seen)]))[BURN_IN:]
        for name in names:
            quantiles, shortfalls = (
                fit.student_tails(tomorrow)
                if name == "garch_t"
                else fit.simulated_tails(tomorrow, residuals, horizon, seed + begin)
            )
            made[name][0, part], made[name][1, part] = quantiles / 100, shortfalls / 100
    return {name: TailForecasts(q, s) for name, (q, s) in made.items()}


@dataclass(frozen=True, slots=True)
class _Garch:
    """Parameters of a GARCH(1,1) model with Student t residuals, of zero-mean returns in percent."""

    omega: float
    alpha: float
    beta: float
    freedom: float
    start: float

    def filtered(self, returns: Floats) -> Floats:
        """Return the conditional variances (n + 1,); entry t depends only on returns before t."""
        drive = self.omega + self.alpha * returns**2
        later = lfilter([1.0], [1.0, -self.beta], drive, zi=[self.beta * self.start])[0]
        return np.concatenate([[self.start], later])

    def student_tails(self, tomorrow: Floats) -> tuple[Floats, Floats]:
        """Return quantiles and tail means (m, 3) one day ahead, from variances `tomorrow` (m,)."""
        nu = self.freedom
        unit = np.sqrt((nu - 2) / nu)
        alphas = np.array(ALPHAS)
        q = student_t.ppf(alphas, nu)
        mean = -student_t.pdf(q, nu) * (nu + q**2) / (nu - 1) / alphas
        deviation = np.sqrt(tomorrow)[:, None]
        return deviation * unit * q, deviation * unit * mean

    def simulated_tails(
        self, tomorrow: Floats, residuals: Floats, horizon: int, seed: int
    ) -> tuple[Floats, Floats]:
        """Return quantiles and tail means (m, 3) of the return over the horizon.

        One day ahead, each residual is one sample; beyond, residuals are sampled at random.
        """
        if horizon == 1:
            q, s = tails_of(residuals)
            deviation = np.sqrt(tomorrow)[:, None]
            return deviation * q, deviation * s
        rng = np.random.default_rng(seed)
        sampled = residuals[rng.integers(len(residuals), size=(horizon, PATHS))]
        variance = np.repeat(tomorrow[:, None], PATHS, axis=1)
        path = np.zeros_like(variance)
        for step in range(horizon):
            shock = np.sqrt(variance) * sampled[step]
            path += shock
            variance = self.omega + self.alpha * shock**2 + self.beta * variance
        return tails_of(path)


def _fit(returns: Floats) -> _Garch:
    with hidden(OPTIONAL_FOR_ARCH):
        from arch import arch_model  # noqa: PLC0415 - slow to import

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # parameters are usable even if the optimiser stops early
        model = arch_model(returns, mean="Zero", vol="GARCH", p=1, q=1, dist="t", rescale=False)
        p = model.fit(disp="off", show_warning=False).params
    freedom = max(float(p["nu"]), 2.1)
    return _Garch(float(p["omega"]), float(p["alpha[1]"]), float(p["beta[1]"]), freedom, float(returns.var()))
