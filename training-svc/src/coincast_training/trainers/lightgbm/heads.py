"""Fit the two heads of the LightGBM model on the rows of a window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.models.har import HarLine
from coincast_modelkit.models.lightgbm import Head, LightgbmModel
from coincast_training.trainers.lightgbm.boosting import boost
from coincast_training.trainers.lightgbm.params import LightgbmParams, TreeParams
from coincast_training.trainers.oos_corrections import Corrections, Outputs, scores_of, without_overlap
from coincast_training.trainers.time_window import Window, line_of, volatility_ahead
from coincast_training.trainers.training_table import Rows, Table


@dataclass(frozen=True, slots=True, eq=False)
class Heads:
    """The regression and both heads, with weights of 1."""

    line: HarLine
    volatility: Head
    mean: Head

    def outputs(self, rows: Rows, at: np.ndarray) -> Outputs:
        """Return the uncorrected outputs on the rows `at`."""
        x = rows.features[at]
        line = self.line.predict(x, rows.spec.names)
        return Outputs(at, line, self.volatility.predict(x), self.mean.predict(x), np.zeros_like(line))

    def model(self, rows: Rows, corrections: Corrections) -> LightgbmModel:
        """Return the model with the corrections applied to the heads."""
        volatility, mean = self.volatility, self.mean
        return LightgbmModel(
            spec=rows.spec,
            line=self.line,
            volatility=Head(volatility.anchors, volatility.boosters, corrections.volatility_weights),
            mean=Head(mean.anchors, mean.boosters, corrections.mean_weights),
            shape=corrections.shape,
            volatility_errors=corrections.volatility_errors,
        )


@dataclass(frozen=True, slots=True, eq=False)
class TreeRecipe:
    """A recipe that fits the regression and the trees on any window of a table."""

    table: Table
    params: LightgbmParams
    seed: int

    @property
    def rows(self) -> Rows:
        """Return the rows of the table."""
        return self.table.rows

    def fit(self, window: Window) -> tuple[Heads, Outputs]:
        """Fit on a window; return the heads, and out-of-sample outputs on the later block of the window.

        First, trees are fitted on the earlier block, and stop early by the loss on the later block. Their
        outputs on the later block are returned. Then the whole window is fitted with the same number of
        rounds.
        """
        rows, params = self.rows, self.params
        earlier, later = window.divided(params.later_share)
        early = _fit(rows, params, self.seed, earlier, stop=later)
        rounds = {
            kind: [b.num_trees() for b in head.boosters]
            for kind, head in (("volatility", early.volatility), ("mean", early.mean))
        }
        heads = _fit(rows, params, self.seed, window, rounds=rounds)
        return heads, early.outputs(rows, later.known(rows, 0))


def _fit(
    rows: Rows,
    params: LightgbmParams,
    seed: int,
    window: Window,
    *,
    stop: Window | None = None,
    rounds: dict[str, list[int]] | None = None,
) -> Heads:
    """Fit regression and heads on one window; the rounds are given, or determined by the block `stop`."""
    anchors = params.anchors
    line = line_of(rows, anchors, window, params.ridge_rows)
    base = line.predict(rows.features, rows.spec.names)

    def head(kind: str, chosen: tuple[int, ...], tree: TreeParams, labels: Floats) -> Head:
        boosters = []
        for j, h in enumerate(chosen):
            train = without_overlap(rows, window.known(rows, h), h)
            block = None if stop is None else without_overlap(rows, stop.known(rows, h), h)
            given = tree.rounds if rounds is None else rounds[kind][j]
            boosters.append(boost(rows.features, labels[:, j], train, block, tree, rounds=given, seed=seed))
        return Head(chosen, tuple(boosters), np.ones(len(boosters)))

    return Heads(
        line,
        head("volatility", anchors, params.volatility, volatility_ahead(rows, anchors) - base),
        head("mean", params.mean_anchors, params.mean, scores_of(rows, anchors, params.mean_anchors, base)),
    )
