"""Forecasts of one model at one horizon, in a fixed order; each loss is computed only once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from coincast_modelkit.forecasts import PROBABILITIES
from coincast_training.evaluation.outcomes import Outcomes
from coincast_training.evaluation.rows import Rows
from coincast_training.optional_imports import import_scoringrules

Floats = NDArray[np.float64]
# CRPS is computed over equally weighted levels, the same for every model.
CRPS_LEVELS = (np.arange(100) + 0.5) / 100
CHUNK = 4000


@dataclass(frozen=True)
class Slice:
    """Forecasts of one model at one horizon with a known outcome, sorted by coin and origin."""

    model: str
    horizon: int
    rows: Rows
    outcomes: Outcomes

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def key(self) -> NDArray[np.str_]:
        """Return coin and origin of each row as one text, which identifies the row in other models."""
        return np.char.add(np.char.add(self.rows.coin, " "), self.rows.origin.astype(np.str_))

    @cached_property
    def has_distribution(self) -> bool:
        """Return whether every forecast has quantiles."""
        return bool(len(self)) and bool(np.isfinite(self.rows.quantiles).all())

    def quantile(self, probability: float) -> Floats:
        """Return a quantile of the log return, (n,)."""
        return quantiles_at(self.rows.quantiles, np.array([probability]))[:, 0]

    @cached_property
    def crps(self) -> Floats:
        """Return the CRPS of the log return, (n,)."""
        scoringrules = import_scoringrules()
        parts = []
        for start in range(0, len(self), CHUNK):
            part = slice(start, start + CHUNK)
            table = quantiles_at(self.rows.quantiles[part], CRPS_LEVELS)
            parts.append(
                np.asarray(
                    scoringrules.crps_quantile(
                        self.outcomes.log_return[part], table, CRPS_LEVELS, backend="numpy"
                    )
                )
            )
        return np.concatenate(parts)

    @cached_property
    def winkler(self) -> Floats:
        """Return the interval score of the 80 % interval of the log return, (n,)."""
        scoringrules = import_scoringrules()
        score = scoringrules.interval_score(
            self.outcomes.log_return, self.quantile(0.1), self.quantile(0.9), 0.2, backend="numpy"
        )
        return np.asarray(score)

    @cached_property
    def absolute_percent(self) -> Floats:
        """Return the absolute error of the point in percent of the actual price, (n,)."""
        return 100 * np.abs(self.rows.point / self.outcomes.actual - 1)

    @cached_property
    def qlike(self) -> Floats:
        """Return the QLIKE of the forecast variance against the realised variance (Patton 2011), (n,).

        It is NaN if either variance is unknown.
        """
        share = self.outcomes.realised / self.rows.variance
        return share - np.log(share) - 1

    def inside(self, level_percent: float) -> NDArray[np.bool_]:
        """Return whether the outcome is within the central interval of that level, (n,)."""
        tail = 0.5 - level_percent / 200
        r = self.outcomes.log_return
        return (r >= self.quantile(tail)) & (r <= self.quantile(1 - tail))


def quantiles_at(table: NDArray[np.floating], wanted: Floats) -> Floats:
    """Interpolate quantiles (n, W) at probabilities `wanted` (W,) from `table` (n, Q).

    The interpolation is linear in the normal score of the probability. `table` has the probabilities
    PROBABILITIES.
    """
    known, at = ndtri(PROBABILITIES), ndtri(wanted)
    left = np.clip(np.searchsorted(known, at, side="right") - 1, 0, len(known) - 2)
    share = (at - known[left]) / (known[left + 1] - known[left])
    return np.asarray(table[:, left] * (1 - share) + table[:, left + 1] * share, dtype=np.float64)


def slices_of(rows: Rows, outcomes: Outcomes) -> dict[tuple[str, int], Slice]:
    """Return the slice of every model at every horizon; keep rows with a known outcome and a finite point."""
    good = np.isfinite(outcomes.actual) & np.isfinite(rows.point)
    found = {}
    for model in np.unique(rows.model):
        for h in np.unique(rows.horizon):
            at = np.flatnonzero(good & (rows.model == model) & (rows.horizon == h))
            if len(at):
                at = at[np.lexsort((rows.origin[at], rows.coin[at]))]
                found[str(model), int(h)] = Slice(str(model), int(h), rows.take(at), _take(outcomes, at))
    return found


def _take(outcomes: Outcomes, at: NDArray[np.int64]) -> Outcomes:
    return Outcomes(*(getattr(outcomes, name)[at] for name in Outcomes.__slots__))


@dataclass(frozen=True, slots=True)
class Pair:
    """Two models on the same coins and days; `in_a` and `in_b` are positions of the shared rows in each."""

    a: Slice
    b: Slice
    in_a: NDArray[np.int64]
    in_b: NDArray[np.int64]

    @property
    def dates(self) -> NDArray[np.datetime64]:
        """Return the origins of the shared rows."""
        return self.a.rows.origin[self.in_a]

    @property
    def coins(self) -> NDArray[np.str_]:
        """Return the coins of the shared rows."""
        return self.a.rows.coin[self.in_a]


def pair(slices: Mapping[tuple[str, int], Slice], a: str, b: str, horizon: int) -> Pair | None:
    """Return two models on their shared coins and days; None if a model is absent or no row is shared."""
    if (a, horizon) not in slices or (b, horizon) not in slices:
        return None
    one, two = slices[a, horizon], slices[b, horizon]
    _, in_a, in_b = np.intersect1d(one.key, two.key, assume_unique=True, return_indices=True)
    return Pair(one, two, in_a, in_b) if len(in_a) else None


def models_at(slices: Mapping[tuple[str, int], Slice], horizon: int) -> Iterator[Slice]:
    """Return the slices of all models at one horizon."""
    return (s for (_, h), s in slices.items() if h == horizon)
