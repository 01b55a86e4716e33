"""Fixed baskets of coins, on which value at risk is tested."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LONG_ONLY = LONG_SHORT = 200
# GARCH is slow; it is fitted on this many of the long/short baskets.
GARCH_BASKETS = 40


@dataclass(frozen=True, slots=True, eq=False)
class Baskets:
    """B baskets of n coins.

    Attributes:
        coin_ids: The coins, in order of the columns of `weights`.
        weights: Weights (B, n); the absolute values of each row sum to 1.
        equal: Row of the basket with equal weights.
        bitcoin: Row of the basket of bitcoin alone; None without bitcoin.
        long_only: Rows of the random long-only baskets.
        long_short: Rows of the random long/short baskets.
    """

    coin_ids: tuple[str, ...]
    weights: Floats
    equal: int
    bitcoin: int | None
    long_only: slice
    long_short: slice


def fixed_baskets(coin_ids: tuple[str, ...], seed: int) -> Baskets:
    """Return baskets of equal weight, of bitcoin (if present), and random long-only and long/short ones."""
    n, rng = len(coin_ids), np.random.default_rng(seed)
    rows = [np.full((1, n), 1 / n)]
    bitcoin = None
    if "bitcoin" in coin_ids:
        bitcoin = 1
        rows.append(np.eye(n)[coin_ids.index("bitcoin")][None])
    start = len(rows)
    rows.append(rng.dirichlet(np.ones(n), LONG_ONLY))
    signed = rng.standard_normal((LONG_SHORT, n))
    rows.append(signed / np.abs(signed).sum(axis=1, keepdims=True))
    return Baskets(
        coin_ids=coin_ids,
        weights=np.concatenate(rows),
        equal=0,
        bitcoin=bitcoin,
        long_only=slice(start, start + LONG_ONLY),
        long_short=slice(start + LONG_ONLY, start + LONG_ONLY + LONG_SHORT),
    )
