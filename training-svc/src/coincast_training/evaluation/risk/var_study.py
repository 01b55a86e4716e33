"""Compare value at risk and expected shortfall of the engine with the reference methods, on fixed baskets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coincast_modelkit.scenarios import JointPaths, assess_portfolio
from coincast_training.evaluation.metrics.significance import diebold_mariano
from coincast_training.evaluation.risk.baskets import GARCH_BASKETS, Baskets
from coincast_training.evaluation.risk.scores import christoffersen, fz0, kupiec, pinball
from coincast_training.evaluation.risk.var_baselines import (
    ALPHAS,
    TailForecasts,
    garch_tails,
    historical_simulation,
    tails_of,
)
from coincast_training.evaluation.risk.walk import MarketDays

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
HORIZONS = (1, 7)
LEVELS = tuple(100 * (1 - a) for a in ALPHAS)
NAMES = tuple(f"{level:g}" for level in LEVELS)


@dataclass(frozen=True, eq=False)
class VarStudy:
    """Tails by the engine, collected day by day, and compared at the end.

    Attributes:
        market: Prices of all coins.
        baskets: The baskets, over coins that all trade on every day of `rows`.
        columns: Positions in the market of the coins of the baskets, (n,).
        rows: Positions of the days of the forecasts, (T,).
        made: Quantiles and tail means (2, T, baskets, levels) by horizon.
        sums_off: For each answer, how far the components of the expected shortfall are from their total.
    """

    market: MarketDays
    baskets: Baskets
    columns: Rows
    rows: Rows
    made: dict[int, Floats] = field(default_factory=dict)
    sums_off: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        count = len(self.baskets.weights)
        for horizon in HORIZONS:
            self.made[horizon] = np.full((2, len(self.rows), count, len(ALPHAS)), np.nan)

    def add(self, at: int, paths: JointPaths) -> None:
        """Add the tails by the engine on one day.

        All baskets are computed by one vectorised formula. The basket of equal weight is also computed by
        the function of the product, and both must agree.
        """
        coins = [paths.index(coin) for coin in self.baskets.coin_ids]
        holdings = dict(zip(self.baskets.coin_ids, self.baskets.weights[self.baskets.equal], strict=True))
        for horizon in HORIZONS:
            gains = self.baskets.weights @ np.expm1(paths.closes[coins, horizon - 1])
            self.made[horizon][:, at] = tails_of(gains)
            risk = assess_portfolio(paths, holdings, horizon, LEVELS)
            for tail, quantile in zip(risk.levels, self.made[horizon][0, at, 0], strict=True):
                if tail.expected_shortfall is not None and tail.value_at_risk is not None:
                    self.sums_off.append(abs(sum(tail.components) - tail.expected_shortfall))
                    # The value of the product must equal that of the study.
                    assert abs(tail.value_at_risk + quantile) < 1e-9  # noqa: S101

    def results(self, seed: int) -> dict[str, Any]:
        """Return hits, tests, gains and scores by horizon, on the days with a known outcome."""
        out: dict[str, Any] = {"components_sum_off": max(self.sums_off, default=float("nan"))}
        for horizon in HORIZONS:
            out[str(horizon)] = self._at(horizon, seed)
        return out

    def _at(self, horizon: int, seed: int) -> dict[str, Any]:
        b = self.baskets
        ahead = np.expm1(self.market.returns_ahead(horizon)[self.rows][:, self.columns]) @ b.weights.T
        known = np.asarray(
            np.isfinite(ahead).all(axis=1) & np.isfinite(self.made[horizon]).all(axis=(0, 2, 3))
        )
        dates, outcomes = self.market.days[self.rows][known], ahead[known]
        engine = TailForecasts(self.made[horizon][0, known], self.made[horizon][1, known])
        groups = {"equal": [b.equal], "long_only": _range(b.long_only), "long_short": _range(b.long_short)}
        if b.bitcoin is not None:
            groups["bitcoin"] = [b.bitcoin]
        found: dict[str, Any] = {
            "days": len(dates),
            "groups": {
                name: _score_engine(outcomes[:, at], engine, at, dates, single=len(at) == 1)
                for name, at in groups.items()
            },
            "against": {},
        }
        chosen = [*range(b.long_short.start, b.long_short.start + GARCH_BASKETS), b.equal]
        if b.bitcoin is not None:
            chosen.append(b.bitcoin)
        peers = self._peers(horizon, known, chosen, seed)
        for peer, (covered, tails) in peers.items():
            place = {basket: i for i, basket in enumerate(covered)}
            for group in ("equal", "long_short", "bitcoin"):
                at = [basket for basket in groups.get(group, []) if basket in place]
                if at:
                    theirs = [place[basket] for basket in at]
                    found["against"].setdefault(peer, {})[group] = _compare(
                        outcomes[:, at],
                        TailForecasts(engine.quantiles[:, at], engine.shortfalls[:, at]),
                        TailForecasts(tails.quantiles[:, theirs], tails.shortfalls[:, theirs]),
                        dates,
                        horizon,
                    )
        return found

    def _peers(
        self, horizon: int, known: NDArray[np.bool_], garch: list[int], seed: int
    ) -> dict[str, tuple[list[int], TailForecasts]]:
        """Return for each reference method the baskets that it covers, and its tails (T, baskets, 3)."""
        rows = self.rows[known]
        daily = self._history(1)
        ended = self._history(horizon)
        every_basket = list(range(len(self.baskets.weights)))
        peers = {
            "hs_250": (
                every_basket,
                _stacked([historical_simulation(ended[:, i], rows) for i in every_basket]),
            )
        }
        names = ("garch_t", "garch_t_fhs") if horizon == 1 else ("garch_t_fhs",)
        fits = [garch_tails(daily[:, i], rows, horizon, seed=seed, names=names) for i in garch]
        for name in names:
            peers[name] = (garch, _stacked([fit[name] for fit in fits]))
        return peers

    def _history(self, horizon: int) -> Floats:
        """Return the returns of all baskets over the horizon that ended on each day, (T, B).

        They are NaN until all coins have a price.
        """
        close = self.market.log_close[:, self.columns]
        past = np.full_like(close, np.nan)
        past[horizon:] = close[horizon:] - close[:-horizon]
        out: Floats = np.expm1(past) @ self.baskets.weights.T
        return out


def _range(part: slice) -> list[int]:
    return list(range(part.start, part.stop))


def _stacked(parts: list[TailForecasts]) -> TailForecasts:
    return TailForecasts(
        np.stack([p.quantiles for p in parts], axis=1), np.stack([p.shortfalls for p in parts], axis=1)
    )


def _score_engine(
    outcomes: Floats, engine: TailForecasts, at: list[int], dates: NDArray[np.datetime64], *, single: bool
) -> dict[str, Any]:
    """Return hits, tests and tail losses of the engine by level, for baskets `at` of `outcomes` (T, B)."""
    found: dict[str, Any] = {}
    years = dates.astype("datetime64[Y]")
    for j, (name, alpha) in enumerate(zip(NAMES, ALPHAS, strict=True)):
        quantiles, shortfalls = engine.quantiles[:, at, j], engine.shortfalls[:, at, j]
        hits = outcomes < quantiles
        shares = hits.mean(axis=0)
        p_values = kupiec(hits, alpha)
        entry = {
            "hits_percent": 100 * float(hits.mean()),
            "kupiec_rejects_percent": 100 * float((p_values < 0.05).mean()),
            "loss_over_es": float(outcomes[hits].sum() / shortfalls[hits].sum())
            if hits.any()
            else float("nan"),
            "by_year_percent": {str(y): 100 * float(hits[years == y].mean()) for y in np.unique(years)},
        }
        if single:
            entry["kupiec_p"] = float(p_values[0])
            entry["christoffersen_p"] = christoffersen(hits[:, 0])
        else:
            entry["middle_80_percent"] = [100 * float(x) for x in np.quantile(shares, [0.1, 0.9])]
        found[name] = entry
    return found


def _compare(
    outcomes: Floats,
    engine: TailForecasts,
    peer: TailForecasts,
    dates: NDArray[np.datetime64],
    horizon: int,
) -> dict[str, Any]:
    """Return the gains in pinball loss and FZ0 by level on shared days, with Diebold-Mariano statistics."""
    found: dict[str, Any] = {}
    both = np.isfinite(peer.quantiles).all(axis=(1, 2))
    for j, (name, alpha) in enumerate(zip(NAMES, ALPHAS, strict=True)):
        y = outcomes[both]
        mine = pinball(y, engine.quantiles[both][..., j], alpha).mean(axis=1)
        theirs = pinball(y, peer.quantiles[both][..., j], alpha).mean(axis=1)
        mine_fz = fz0(y, engine.quantiles[both][..., j], engine.shortfalls[both][..., j], alpha).mean(axis=1)
        their_fz = fz0(y, peer.quantiles[both][..., j], peer.shortfalls[both][..., j], alpha).mean(axis=1)
        found[name] = {
            "days": int(both.sum()),
            "pinball_gain_percent": 100 * (1 - float(mine.mean() / theirs.mean())),
            "diebold_mariano": diebold_mariano(mine, theirs, dates[both], horizon),
            "fz0_gain": float((their_fz - mine_fz).mean()),
            "fz0_diebold_mariano": diebold_mariano(mine_fz, their_fz, dates[both], horizon),
            "peer_hits_percent": 100 * float((y < peer.quantiles[both][..., j]).mean()),
        }
    return found
