"""Walk the members and pools of the ensemble forward: fit up to a day, and forecast the days after."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coincast_modelkit.features import DEFAULT_SPEC
from coincast_modelkit.intervals import cautious_factors, symmetric_quantiles
from coincast_modelkit.models.ensemble.horizon_pool import MEMBERS, RNN, Pool, Scales, outlook_of, with_rnn
from coincast_modelkit.models.ensemble.model import LEVELS, Anchor
from coincast_modelkit.models.scales import joined, spans_weekend
from coincast_modelkit.volatility import REGIMES
from coincast_training.executors import Executor
from coincast_training.trainers.ensemble.dataset import Block, CoinRows, CoinTable, block_of, fold_days
from coincast_training.trainers.ensemble.members import fit_garch, fit_scales
from coincast_training.trainers.ensemble.params import EnsembleParams
from coincast_training.trainers.ensemble.pooling import PoolHistory, correction, fit_pool
from coincast_training.trainers.ensemble.rnn_member import RnnWalk
from coincast_training.trainers.progress import Progress

Floats = NDArray[np.float64]
Store = MutableMapping[tuple[Any, ...], Any]
AT_80 = int(np.argmin(np.abs(LEVELS - 0.8)))


@dataclass(frozen=True, slots=True)
class Walk:
    """The walk-forward over one panel; `store` has all fits, by the last day of their data."""

    coins: Sequence[CoinRows]
    params: EnsembleParams
    seed: int
    store: Store
    rnn: RnnWalk | None = None

    @property
    def members(self) -> tuple[str, ...]:
        """Return the names of the pooled members."""
        return MEMBERS if self.rnn is None else (*MEMBERS, RNN)

    def fit_all(self, source: CoinTable, cut: int, executor: Executor, progress: Progress) -> None:
        """Fit the members of all folds up to `cut`, which takes most of the time.

        Args:
            source: The table of `coins`, which is sent to the workers.
            cut: Last day of the data, since 1970.
            executor: Runs the fits.
            progress: Called with the finished fraction and a text.
        """
        days = [*fold_days(self.coins, cut, self.params.fold_days), cut]
        missing = [d for d in days if any(("scales", h, d) not in self.store for h in self.params.anchors)]
        missing.reverse()  # longest first, since a long task that starts last would delay the end

        def on_done(done: int) -> None:
            progress(done / len(missing), f"fitted members of {done} of {len(missing)} folds")

        shared = (source, self.params, self.seed)
        for learnt in executor.map(_members_on, shared, missing, on_done=on_done):
            self.store.update(learnt)

    def anchor(self, horizon: int, cut: int) -> Anchor | None:
        """Return members and pool by the data up to day `cut`; None with too little data."""
        scales = self._scales(horizon, cut)
        return None if scales is None else Anchor(scales, self.pool(horizon, cut))

    def members_of(self, horizon: int, day: int, block: Block) -> Floats | None:
        """Return the log scales of a block by members fitted up to `day`; None with too little data."""
        scales = self._scales(horizon, day)
        return None if scales is None else scales.forecast(block.coins, DEFAULT_SPEC)

    def record(self, horizon: int, cut: int) -> list[tuple[Block, int, Floats]]:
        """Return rows, horizon and log-return quantiles (n, Q) of each fold, by the pool at its start."""
        out = []
        for day, block, members in self.folds(horizon, cut):
            pool = self.pool(horizon, day)
            scale = np.exp(pool.log_scale(members, block.regime))
            out.append(
                (block, horizon, symmetric_quantiles(scale[:, None] * pool.sizes_of(joined(block.coins))))
            )
        return out

    def folds(self, horizon: int, cut: int) -> list[tuple[int, Block, Floats]]:
        """Return fit day, rows and forecasts of the members of each fold up to `cut`, in order."""
        folds = []
        for day in fold_days(self.coins, cut, self.params.fold_days):
            scales = self._scales(horizon, day)
            if scales is None:
                continue
            block = block_of(self.coins, day, day + self.params.fold_days, horizon)
            if len(block.day):
                folds.append((day, block, self._members(scales, day, block)))
        return folds

    def _members(self, scales: Scales, day: int, block: Block) -> Floats:
        """Return the log scales (n, M) of the rows of a fold, by the members fitted at its start."""
        key = ("members", scales.horizon, day)
        if key not in self.store:
            self.store[key] = scales.forecast(block.coins, DEFAULT_SPEC)
        found: Floats = self.store[key]
        if self.rnn is None:
            return found
        at = self.rnn.recipe.anchors.index(scales.horizon)
        return with_rnn(found, self.rnn.columns(day, block)[:, at])

    def _scales(self, horizon: int, cut: int) -> Scales | None:
        key = ("scales", horizon, cut)
        if key not in self.store:
            self.store[key] = self._fit_scales(horizon, cut)
        found: Scales | None = self.store[key]
        return found

    def _fit_scales(self, horizon: int, cut: int) -> Scales | None:
        """Fit on rows whose outcome is known at the close of day `cut`: the purge is exactly the horizon."""
        block = block_of(self.coins, 0, cut - horizon + 1, horizon)
        if not len(block.day):
            return None
        key = ("garch", cut)
        try:
            if key not in self.store:
                self.store[key] = fit_garch(self.coins, cut)
            p = self.params
            return fit_scales(
                block, horizon, self.store[key], DEFAULT_SPEC, trees=p.trees, penalty=p.ridge, seed=self.seed
            )
        except ValueError:
            return None

    def pool(self, horizon: int, cut: int) -> Pool:
        """Return the pool by the data up to `cut`, with sizes corrected by the coverage of earlier pools."""
        key = ("corrected pool", horizon, cut, self.members)
        if key not in self.store:
            raw = self._raw_pool(horizon, cut)
            factors = cautious_factors(np.full(REGIMES, self._correction(horizon, cut)))
            self.store[key] = replace(raw, sizes=raw.sizes * factors[:, None])
        found: Pool = self.store[key]
        return found

    def _raw_pool(self, horizon: int, cut: int) -> Pool:
        key = ("pool", horizon, cut, self.members)
        if key not in self.store:
            seen = _pool_inputs(self.folds(horizon, cut), len(self.members))
            self.store[key] = fit_pool(seen, horizon, cut, self.params.pool, self._prior())
        found: Pool = self.store[key]
        return found

    def _prior(self) -> Floats:
        """Return the prior weights of the members, (M,)."""
        own = np.asarray(self.params.pool.prior) / np.sum(self.params.pool.prior)
        if self.rnn is None:
            return np.asarray(own)
        share = self.params.lstm.prior
        return np.append((1 - share) * own, share)

    def _correction(self, horizon: int, cut: int) -> float:
        """Return the factor that would have given the sizes of earlier pools the right coverage."""
        parts = []
        for day, block, members in self.folds(horizon, cut):
            pool = self._raw_pool(horizon, day)
            size = (
                np.exp(pool.log_scale(members, block.regime)) * pool.sizes_of(joined(block.coins))[:, AT_80]
            )
            # If all outcomes of a pool were zero, its size is zero, and its coverage has no meaning.
            sized = np.where(size > 0, size, np.nan)
            parts.append((np.abs(block.returns) / sized, block.day))
        if not parts:
            return 1.0
        shares, days = (np.concatenate(p) for p in zip(*parts, strict=True))
        known = (days + horizon <= cut) & np.isfinite(shares)
        return correction(shares[known], cut - days[known], horizon, self.params.pool)


def _members_on(shared: tuple[CoinTable, EnsembleParams, int], day: int) -> Store:
    """Fit the members at every horizon by the data up to `day`; return them as entries of the store."""
    source, params, seed = shared
    alone = Walk(source.coins, params, seed, {})
    for horizon in params.anchors:
        alone._scales(horizon, day)
    return alone.store


def _pool_inputs(folds: Sequence[tuple[int, Block, Floats]], count: int) -> PoolHistory:
    if not folds:
        none, day = np.empty(0), np.empty(0, dtype=np.int64)
        return PoolHistory(
            members=np.empty((0, count)),
            returns=none,
            log_volatility=none,
            regime=day,
            weekend=day,
            day=day,
            outlook=none,
            random_sign_returns=np.empty((0, 0)),
        )
    members = np.concatenate([table for *_, table in folds])
    blocks = [block for _, block, _ in folds]
    return PoolHistory(
        members=members,
        returns=np.concatenate([b.returns for b in blocks]),
        log_volatility=np.concatenate([b.log_volatility for b in blocks]),
        regime=np.concatenate([b.regime for b in blocks]),
        weekend=spans_weekend(np.concatenate([joined(b.coins).weekday for b in blocks])),
        day=np.concatenate([b.day for b in blocks]),
        outlook=outlook_of(members),
        random_sign_returns=np.empty((len(members), 0)),
    )
