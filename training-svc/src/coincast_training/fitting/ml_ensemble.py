"""Fits ml_ensemble: walk-forward forecasts of its members, pooled by what they were worth out of sample."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from coincast_modelkit.candles import Panel
from coincast_modelkit.features import DEFAULT_SPEC
from coincast_modelkit.forecasts import PROBABILITIES
from coincast_modelkit.intervals import symmetric_quantiles
from coincast_modelkit.models.base import MAX_HORIZON_DAYS
from coincast_modelkit.models.ensemble import LEVELS, Anchor, EnsembleModel
from coincast_modelkit.models.ensemble_anchor import MEMBERS, Pool, Scales
from coincast_modelkit.models.scales import into_weekend, joined
from coincast_training.fitting.base import FittedModel, Progress, WalkForward
from coincast_training.fitting.ensemble_pool import PoolParams, Seen, correction, fit_pool
from coincast_training.fitting.ensemble_rows import Block, CoinRows, block_of, rows_of
from coincast_training.fitting.ensemble_scales import TreeParams, fit_garch, fit_scales

Floats = NDArray[np.float64]
Store = MutableMapping[tuple[Any, ...], Any]
MIN_FOLD_DAYS = 7
AT_80 = int(np.argmin(np.abs(LEVELS - 0.8)))


@dataclass(frozen=True, slots=True)
class EnsembleParams:
    """anchors: the horizons fitted, in days; fold_days: how often the walk-forward record refits."""

    anchors: tuple[int, ...] = (1, 3, 7, 14, 30)
    fold_days: int = 60
    ridge: float = 30.0
    trees: TreeParams = field(default_factory=TreeParams)
    pool: PoolParams = field(default_factory=PoolParams)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> EnsembleParams:
        """From a mapping as in a YAML file. Raises ValueError that names what is unknown or out of range."""
        for name, part in (("", plain), ("trees.", plain.get("trees")), ("pool.", plain.get("pool"))):
            kind: Any = {"": cls, "trees.": TreeParams, "pool.": PoolParams}[name]
            known = [f.name for f in fields(kind)]
            if isinstance(part, Mapping) and (unknown := sorted(set(part) - set(known))):
                raise ValueError(
                    f"ml_ensemble parameters: {name}{unknown[0]} is not one of {', '.join(known)}"
                )
        try:
            params = TypeAdapter(cls).validate_python(dict(plain))
        except ValidationError as error:
            faults = [
                f"{'.'.join(map(str, e['loc']))}: {e['msg']}, got {e['input']!r}" for e in error.errors()
            ]
            raise ValueError(f"ml_ensemble parameters: {'; '.join(faults)}") from error
        if not params.anchors or min(params.anchors) < 1 or max(params.anchors) > MAX_HORIZON_DAYS:
            raise ValueError(
                f"ml_ensemble parameters: anchors: must be 1 to 30 days, got {list(params.anchors)}"
            )
        if params.fold_days < MIN_FOLD_DAYS:
            raise ValueError(
                f"ml_ensemble parameters: fold_days: must be at least {MIN_FOLD_DAYS}, got {params.fold_days}"
            )
        return params


def fit(
    panel: Panel,
    params: Mapping[str, Any],
    seed: int,
    *,
    progress: Progress,
    reference: Panel | None = None,
    store: Store | None = None,
) -> FittedModel:
    """Fit the ensemble on everything in the panel, and give the record of the same recipe walked forward.

    store keeps folds between calls on growing cuts of one panel: what a fold learnt depends on nothing after
    its cut, so a later call with the same store gives the same model (to rounding), sooner. Raises ValueError
    where the panel is too short (150 days with a known outcome at the shortest horizon, over all coins).
    """
    chosen = EnsembleParams.of(params)
    coins = rows_of(panel, {**(reference or {}), **panel}, DEFAULT_SPEC)
    if not coins:
        raise ValueError("no coin has enough days for its features; 60 are needed")
    walk = Walk(coins, chosen, seed, {} if store is None else store)
    last = max(int(c.days[-1]) for c in coins)
    anchors, records = [], []
    for i, horizon in enumerate(chosen.anchors):
        progress(i / len(chosen.anchors), f"walks forward at {horizon} days")
        found = walk.anchor(horizon, last)
        if found is not None:
            anchors.append(found)
            records.append(walk.record(horizon, last))
    if not anchors:
        raise ValueError("too few days with a known outcome; give more days or more coins")
    progress(1.0, "pooled")
    return FittedModel(
        model=EnsembleModel(anchors, DEFAULT_SPEC),
        walk_forward=_joined([r for part in records for r in part], coins),
        parameters=asdict(chosen),
        notes={"weights": {a.scales.horizon: _by_member(a) for a in anchors}},
    )


def _by_member(anchor: Anchor) -> dict[str, list[float]]:
    return {m: [round(float(w), 4) for w in anchor.pool.weights[:, i]] for i, m in enumerate(MEMBERS)}


@dataclass(frozen=True, slots=True)
class Walk:
    """Walks forward over one panel; everything is kept in `store` under the day it was learnt by."""

    coins: Sequence[CoinRows]
    params: EnsembleParams
    seed: int
    store: Store

    def anchor(self, horizon: int, cut: int) -> Anchor | None:
        """Members and pool as known on day `cut`; None where there is too little to learn from."""
        scales = self._scales(horizon, cut)
        return None if scales is None else Anchor(scales, self._pool(horizon, cut))

    def record(self, horizon: int, cut: int) -> list[tuple[Block, int, Floats]]:
        """Each fold's rows, horizon and log-return quantiles (n, Q) by the pool known at its start."""
        out = []
        for day, block, members in self._folds(horizon, cut):
            pool = self._pool(horizon, day)
            scale = np.exp(pool.log_scale(members, block.regime))
            out.append(
                (block, horizon, symmetric_quantiles(scale[:, None] * pool.sizes_of(joined(block.coins))))
            )
        return out

    def _folds(self, horizon: int, cut: int) -> list[tuple[int, Block, Floats]]:
        """(day of the fit, rows forecast, members' forecasts) of every fold that ends by `cut`, in order."""
        first = min(int(c.days[0]) for c in self.coins)
        days = range(cut - self.params.fold_days, first, -self.params.fold_days)
        folds = []
        for day in reversed(days):
            scales = self._scales(horizon, day)
            if scales is None:
                continue
            block = block_of(self.coins, day, day + self.params.fold_days, horizon)
            key = ("members", horizon, day)
            if len(block.day) and key not in self.store:
                self.store[key] = scales.forecast(block.coins, DEFAULT_SPEC)
            if len(block.day):
                folds.append((day, block, self.store[key]))
        return folds

    def _scales(self, horizon: int, cut: int) -> Scales | None:
        key = ("scales", horizon, cut)
        if key not in self.store:
            self.store[key] = self._fit_scales(horizon, cut)
        found: Scales | None = self.store[key]
        return found

    def _fit_scales(self, horizon: int, cut: int) -> Scales | None:
        """Rows whose outcome was known by the end of day `cut`: the purge is exactly the horizon."""
        block = block_of(self.coins, 0, cut - horizon + 1, horizon)
        if not len(block.day):
            return None
        key = ("garch", cut)
        try:
            if key not in self.store:
                self.store[key] = fit_garch(self.coins, cut)
            p = self.params
            return fit_scales(
                block, horizon, self.store[key], DEFAULT_SPEC, trees=p.trees, ridge=p.ridge, seed=self.seed
            )
        except ValueError:
            return None

    def _pool(self, horizon: int, cut: int) -> Pool:
        """The pool as known on day `cut`, its sizes corrected by how earlier pools did afterwards."""
        key = ("corrected pool", horizon, cut)
        if key not in self.store:
            raw = self._raw_pool(horizon, cut)
            self.store[key] = replace(raw, sizes=raw.sizes * self._correction(horizon, cut))
        found: Pool = self.store[key]
        return found

    def _raw_pool(self, horizon: int, cut: int) -> Pool:
        key = ("pool", horizon, cut)
        if key not in self.store:
            self.store[key] = fit_pool(_seen(self._folds(horizon, cut)), horizon, cut, self.params.pool)
        found: Pool = self.store[key]
        return found

    def _correction(self, horizon: int, cut: int) -> float:
        """What earlier raw pools' sizes had to be multiplied with, to cover what came after them."""
        parts = []
        for day, block, members in self._folds(horizon, cut):
            pool = self._raw_pool(horizon, day)
            size = (
                np.exp(pool.log_scale(members, block.regime)) * pool.sizes_of(joined(block.coins))[:, AT_80]
            )
            parts.append((np.abs(block.returns) / size, block.day))
        if not parts:
            return 1.0
        shares, days = (np.concatenate(p) for p in zip(*parts, strict=True))
        known = (days + horizon <= cut) & np.isfinite(shares)
        return correction(shares[known], cut - days[known], self.params.pool)


def _seen(folds: Sequence[tuple[int, Block, Floats]]) -> Seen:
    if not folds:
        none, day = np.empty(0), np.empty(0, dtype=np.int64)
        return Seen(np.empty((0, len(MEMBERS))), none, none, day, day, day)
    blocks = [block for _, block, _ in folds]
    return Seen(
        members=np.concatenate([members for *_, members in folds]),
        returns=np.concatenate([b.returns for b in blocks]),
        log_volatility=np.concatenate([b.log_volatility for b in blocks]),
        regime=np.concatenate([b.regime for b in blocks]),
        weekend=into_weekend(np.concatenate([joined(b.coins).weekday for b in blocks])),
        day=np.concatenate([b.day for b in blocks]),
    )


def _joined(parts: Sequence[tuple[Block, int, Floats]], coins: Sequence[CoinRows]) -> WalkForward:
    """The record of all anchors; forecasts whose outcome is not known yet are left out."""
    names = np.array([c.coin_id for c in coins])
    kept = [(b, h, q, np.isfinite(b.returns) & np.isfinite(q).all(axis=1)) for b, h, q in parts]
    if not kept:
        empty, none = np.empty(0), np.empty(0, dtype=np.int64)
        days = none.astype("datetime64[D]")
        table = np.empty((0, len(PROBABILITIES)))
        return WalkForward(names[:0], days, none, empty, PROBABILITIES, table, empty)
    return WalkForward(
        coin_ids=np.concatenate([names[b.coin[k]] for b, _, _, k in kept]),
        origins=np.concatenate([b.day[k].astype("datetime64[D]") for b, _, _, k in kept]),
        horizons=np.concatenate([np.full(int(k.sum()), h, dtype=np.int64) for _, h, _, k in kept]),
        last_prices=np.concatenate([np.exp(b.log_close[k]) for b, _, _, k in kept]),
        probabilities=PROBABILITIES,
        log_return_quantiles=np.concatenate([q[k] for _, _, q, k in kept]),
        actual_log_returns=np.concatenate([b.returns[k] for b, _, _, k in kept]),
    )
