"""Fit ml_ensemble: members and their pool, whose weights are fitted on walk-forward forecasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from coincast_modelkit.candles import Panel
from coincast_modelkit.features import DEFAULT_SPEC
from coincast_modelkit.forecasts import PROBABILITIES
from coincast_modelkit.hourly.candles import HourlyPanel
from coincast_modelkit.models.ensemble.model import Anchor, EnsembleModel
from coincast_modelkit.models.ensemble.rnn_member import RnnMember
from coincast_training.executors import Executor
from coincast_training.executors.inline import InlineExecutor
from coincast_training.trainers.base import FittedModel, WalkForward
from coincast_training.trainers.ensemble.backtest import Floats, Store, Walk
from coincast_training.trainers.ensemble.dataset import Block, CoinRows, CoinTable, fold_days
from coincast_training.trainers.ensemble.hours_member import HoursWalk, days_with_hours, hours_rows
from coincast_training.trainers.ensemble.params import EnsembleParams
from coincast_training.trainers.ensemble.rnn_member import RnnWalk
from coincast_training.trainers.progress import Progress, part_of

# Shares of the duration of a fit: networks, if there are any, and members (of the rest).
RNN_SHARE = 0.8
MEMBERS_SHARE = 0.8
NO_HOURS = "hours.use: on, but at least {} days of hourly candles are needed"


def fit(
    panel: Panel,
    params: Mapping[str, Any],
    seed: int,
    *,
    progress: Progress,
    reference: Panel | None = None,
    executor: Executor | None = None,
    store: Store | None = None,
    hours: HourlyPanel | None = None,
) -> FittedModel:
    """Fit the ensemble on the whole panel, and make walk-forward forecasts with the same recipe.

    Args:
        panel: Candles of the coins to train on.
        params: Parameters of the recipe.
        seed: Random seed.
        progress: Called with the finished fraction and a text.
        reference: Reference coins; None takes those of the panel.
        executor: Runs the folds; None runs them in this process.
        store: Results of folds, shared between calls on longer and longer cuts of one panel. A fold does not
            depend on later days, so later calls are faster and give the same model (except for rounding).
        hours: Hourly candles of the coins of the panel and the reference coins, up to the last day of the
            panel. Without them the ensemble has no hours member.

    Raises:
        ValueError: The panel has fewer than 150 days with a known outcome at the shortest horizon, over all
            coins, or hours are required and too few are known.
    """
    chosen = EnsembleParams.of(params)
    source = CoinTable(panel, {**(reference or {}), **panel})
    coins, workers = source.coins, executor or InlineExecutor()
    if not coins:
        raise ValueError("no coin has enough days for its features; 60 are needed")
    kept: Store = {} if store is None else store
    rows = hours_rows(coins, {} if chosen.hours.use == "off" else hours or {})
    if chosen.hours.use == "on" and days_with_hours(coins, rows) < 2 * chosen.hours.min_days:
        raise ValueError(f"ml_ensemble parameters: {NO_HOURS.format(2 * chosen.hours.min_days)}")
    last = max(int(c.days[-1]) for c in coins)
    rnn, served = _fit_rnn(
        source, chosen, seed, store=kept, executor=workers, progress=part_of(progress, 0.0, RNN_SHARE)
    )
    begin = 0.0 if rnn is None else RNN_SHARE
    fitted = begin + (1 - begin) * MEMBERS_SHARE
    walk = Walk(coins, chosen, seed, kept, rnn)
    walk.fit_all(source, last, workers, part_of(progress, begin, fitted))
    hourly = HoursWalk(walk, rows, chosen.hours)
    anchors, records = [], []
    for i, horizon in enumerate(chosen.anchors):
        progress(fitted + (1 - fitted) * i / len(chosen.anchors), f"walking forward at {horizon} days")
        found = walk.anchor(horizon, last)
        if found is not None:
            anchors.append(replace(found, hours=hourly.members(horizon, last)))
            records.append(hourly.record(horizon, last))
    if not anchors:
        raise ValueError("too few days with a known outcome; give more days or more coins")
    progress(1.0, "pooled")
    model = EnsembleModel(anchors, DEFAULT_SPEC, rnn=served)
    if chosen.hours.use == "on" and not model.reads_hours:
        raise ValueError(f"ml_ensemble parameters: {NO_HOURS.format(2 * chosen.hours.min_days)}")
    return FittedModel(
        model=model,
        walk_forward=_joined([r for part in records for r in part], coins),
        parameters=asdict(_resolved(chosen, rnn, model.reads_hours)),
        notes={
            "members": list(walk.members),
            "weights": {a.scales.horizon: _by_member(a, walk.members) for a in anchors},
            **({} if rnn is None else {"lstm": rnn.notes()}),
            **({"hours": hourly.notes(chosen.anchors, last)} if model.reads_hours else {}),
        },
    )


def _fit_rnn(
    source: CoinTable,
    chosen: EnsembleParams,
    seed: int,
    *,
    store: Store,
    executor: Executor,
    progress: Progress,
) -> tuple[RnnWalk, RnnMember] | tuple[None, None]:
    """Fit the recurrent member; return its walk and the served member, or None for both if it is left out."""
    last = max(int(c.days[-1]) for c in source.coins)
    folds = [*fold_days(source.coins, last, chosen.fold_days), last]
    walk = RnnWalk.of(source, chosen.anchors, chosen.lstm, folds, seed=seed, store=store)
    if walk is None:
        return None, None
    walk.fit_all(last, executor, progress)
    served = walk.served(last)
    return (walk, served) if served is not None else (None, None)


def _resolved(chosen: EnsembleParams, rnn: RnnWalk | None, reads_hours: bool) -> EnsembleParams:
    """Replace `auto` by `on` or `off`, so that the same version can be trained again on any machine."""
    return replace(
        chosen,
        lstm=replace(chosen.lstm, use="off" if rnn is None else "on"),
        hours=replace(chosen.hours, use="on" if reads_hours else "off"),
    )


def _by_member(anchor: Anchor, members: Sequence[str]) -> dict[str, list[float]]:
    return {m: [round(float(w), 4) for w in anchor.pool.weights[:, i]] for i, m in enumerate(members)}


def _joined(parts: Sequence[tuple[Block, int, Floats]], coins: Sequence[CoinRows]) -> WalkForward:
    """Join the forecasts of all anchors; leave out forecasts without a known outcome."""
    names = np.array([c.coin_id for c in coins])
    kept = [(b, h, q, np.isfinite(b.returns) & np.isfinite(q).all(axis=1)) for b, h, q in parts]
    if not kept:
        empty, none = np.empty(0), np.empty(0, dtype=np.int64)
        days = none.astype("datetime64[D]")
        table = np.empty((0, len(PROBABILITIES)))
        return WalkForward(
            coin_ids=names[:0],
            origins=days,
            horizons=none,
            last_prices=empty,
            probabilities=PROBABILITIES,
            log_return_quantiles=table,
            actual_log_returns=empty,
        )
    return WalkForward(
        coin_ids=np.concatenate([names[b.coin[k]] for b, _, _, k in kept]),
        origins=np.concatenate([b.day[k].astype("datetime64[D]") for b, _, _, k in kept]),
        horizons=np.concatenate([np.full(int(k.sum()), h, dtype=np.int64) for _, h, _, k in kept]),
        last_prices=np.concatenate([np.exp(b.log_close[k]) for b, _, _, k in kept]),
        probabilities=PROBABILITIES,
        log_return_quantiles=np.concatenate([q[k] for _, _, q, k in kept]),
        actual_log_returns=np.concatenate([b.returns[k] for b, _, _, k in kept]),
    )
