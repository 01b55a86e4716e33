"""Compare the joint paths of the engine with other methods: energy and variogram scores, joint falls."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from coincast_modelkit.forecasts import Forecasts
from coincast_modelkit.scenarios import JointPaths, ScenarioWindow, day_scales, horizon_scales, spread_of
from coincast_training.evaluation.metrics.significance import (
    diebold_mariano,
    skill_interval,
    skill_percent,
)
from coincast_training.evaluation.risk.scores import energy_score, variogram_score
from coincast_training.evaluation.risk.walk import ANCHORS, MarketDays, present_on

Floats = NDArray[np.float64]
DAYS = 7
HISTORY = 250
DECAY = 0.94
FALL = np.log(0.95)
METHODS = ("engine", "independent", "gaussian_copula", "hs_250", "ewma")
VARIOGRAM_METHODS = ("engine", "independent", "gaussian_copula")


@dataclass(frozen=True, eq=False)
class JointStudy:
    """Scores of the joint 7-day paths of all coins, and probabilities that at least one basket coin falls.

    Attributes:
        market: Prices of all coins.
        columns: Positions in the market of the coins of the baskets, whose falls are counted.
        seed: Seed of the random methods.
        energy: Energy scores of each method, one for each row of `scored`.
        variogram: Variogram scores of each method, one for each row of `scored`.
        scored: Rows of the market with scores.
        falls: For each day: row, forecast probability, probability by flipped signs, and the outcome as 0 or
            1.
    """

    market: MarketDays
    columns: NDArray[np.int64]
    seed: int
    energy: dict[str, list[float]] = field(default_factory=lambda: {m: [] for m in METHODS})
    variogram: dict[str, list[float]] = field(default_factory=lambda: {m: [] for m in VARIOGRAM_METHODS})
    scored: list[int] = field(default_factory=list)
    falls: list[tuple[int, float, float, float]] = field(default_factory=list)

    def add_fall(self, row: int, paths: JointPaths, window: ScenarioWindow, forecasts: Forecasts) -> None:
        """Add the probability that a coin closes 5 % lower tomorrow, and the baseline by flipped signs."""
        names = [self.market.coin_ids[i] for i in self.columns]
        at = [paths.index(name) for name in names]
        if row + 1 >= len(self.market.days):
            return
        move = self.market.log_close[row + 1, self.columns] - self.market.log_close[row, self.columns]
        if not np.isfinite(move).all():
            return
        chance = float((paths.closes[at, 0] <= FALL).any(axis=0).mean())
        # Flipped signs: each past day counts twice, once with the opposite sign. The ranks of this doubled
        # sample join the same marginals.
        past = window.moves.closes[:, [window.coin_ids.index(n) for n in names], 0].T
        doubled = np.concatenate([past, -past], axis=1)
        order = np.argsort(np.argsort(doubled, axis=1, kind="stable"), axis=1)
        levels = (np.arange(doubled.shape[1]) + 0.5) / doubled.shape[1]
        marginals = forecasts.quantile_log_returns(levels)[at, 0]
        flipped = float((np.take_along_axis(marginals, order, axis=1) <= FALL).any(axis=0).mean())
        self.falls.append((row, chance, flipped, float((move <= FALL).any())))

    def add_scores(self, row: int, forecasts: Forecasts, paths: JointPaths) -> None:
        """Add the scores of one day over the coins with HISTORY + DAYS days before and DAYS days after."""
        columns = [self.market.coin_ids.index(coin) for coin in paths.coin_ids]
        kept = [i for i, c in enumerate(columns) if present_on(self.market, row, [c], HISTORY + DAYS)]
        at = np.array([columns[i] for i in kept])
        ahead = self.market.log_close[row + 1 : row + 1 + DAYS][:, at] - self.market.log_close[row, at]
        if len(kept) < 2 or ahead.shape[0] < DAYS or not np.isfinite(ahead).all():
            return
        rng = np.random.default_rng([self.seed, row])
        engine = paths.closes[kept][:, :DAYS]
        outcome = ahead.T.reshape(-1).astype(np.float32)
        independent = np.stack([coin[:, rng.permutation(coin.shape[1])] for coin in engine])
        samples = {
            "engine": engine,
            "independent": independent,
            "gaussian_copula": self._copula(row, at, forecasts, kept=kept, engine=engine, rng=rng),
            "hs_250": self._historical(row, at),
            "ewma": self._ewma(row, at, engine.shape[2], rng),
        }
        for name, sample in samples.items():
            flat = sample.reshape(-1, sample.shape[2]).T.astype(np.float32)
            self.energy[name].append(energy_score(flat, outcome))
            if name in self.variogram:
                self.variogram[name].append(variogram_score(flat, outcome))
        self.scored.append(row)

    def _copula(
        self,
        row: int,
        at: NDArray[np.int64],
        forecasts: Forecasts,
        *,
        kept: list[int],
        engine: Floats,
        rng: np.random.Generator,
    ) -> Floats:
        """Join the marginals of the engine by a Gaussian copula, (n, 7, count).

        The copula has one correlation matrix, of the last 1,000 days, and independent days.
        """
        moves = np.diff(self.market.log_close[: row + 1, at], axis=0)
        moves = moves[np.isfinite(moves).all(axis=1)][-1000:]
        ranks = np.argsort(np.argsort(moves, axis=0), axis=0)
        correlation = np.corrcoef(ndtri((ranks + 0.5) / len(moves)).T)
        root = np.linalg.cholesky(correlation + 1e-9 * np.eye(len(at)))
        count = engine.shape[2]
        normal = root @ rng.standard_normal((DAYS, len(at), count))
        anchors = [h - 1 for h in ANCHORS]
        widths = spread_of(forecasts.log_return_quantiles[kept][:, anchors], forecasts.probabilities)
        steps = day_scales(horizon_scales(ANCHORS, widths, DAYS))
        path = np.cumsum(normal.swapaxes(0, 1) * steps[..., None], axis=1)
        order = np.argsort(np.argsort(path, axis=2), axis=2)
        return np.take_along_axis(np.sort(engine, axis=2), order, axis=2)

    def _historical(self, row: int, at: NDArray[np.int64]) -> Floats:
        """Return the last 250 past paths of seven days that ended by `row`, (n, 7, 250)."""
        close = self.market.log_close[row - HISTORY - DAYS + 1 : row + 1, at]
        starts = close[:HISTORY]
        return np.stack([close[k : k + HISTORY] - starts for k in range(1, DAYS + 1)]).transpose(2, 0, 1)

    def _ewma(self, row: int, at: NDArray[np.int64], count: int, rng: np.random.Generator) -> Floats:
        """Return paths of normal daily returns with an exponentially weighted covariance, (n, 7, count)."""
        moves = np.diff(self.market.log_close[row - HISTORY : row + 1, at], axis=0)
        weights = DECAY ** np.arange(len(moves))[::-1]
        covariance = (moves * weights[:, None]).T @ moves / weights.sum()
        root = np.linalg.cholesky(covariance + 1e-12 * np.eye(len(at)))
        normal = root @ rng.standard_normal((DAYS, len(at), count))
        return np.cumsum(normal.swapaxes(0, 1), axis=1)

    def results(self) -> dict[str, Any]:
        """Return the gains of the engine over each method, and the scores of joint falls."""
        dates = self.market.days[np.array(self.scored, dtype=np.int64)]
        found: dict[str, Any] = {"days": len(dates), "energy": {}, "variogram": {}}
        for name, table in (("energy", self.energy), ("variogram", self.variogram)):
            mine = np.array(table["engine"])
            for method, scores in table.items():
                if method != "engine" and len(mine):
                    found[name][method] = _gain(mine, np.array(scores), dates, DAYS)
        if self.falls:
            rows, chance, flipped, fell = (np.array(part) for part in zip(*self.falls, strict=True))
            days = self.market.days[rows.astype(np.int64)]
            found["falls"] = {
                "coins": len(self.columns),
                "days": len(days),
                "forecast_percent": 100 * float(chance.mean()),
                "flipped_percent": 100 * float(flipped.mean()),
                "observed_percent": 100 * float(fell.mean()),
                "over_flipped": _gain((chance - fell) ** 2, (flipped - fell) ** 2, days, 1),
            }
        return found


def _gain(mine: Floats, theirs: Floats, dates: NDArray[np.datetime64], horizon: int) -> dict[str, Any]:
    return {
        "gain_percent": skill_percent(mine, theirs),
        "interval": list(skill_interval(mine, theirs, dates, horizon)),
        "diebold_mariano": diebold_mariano(mine, theirs, dates, horizon),
    }
