"""Fixed baskets of coins, and the outcomes of holding them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LONG_ONLY = LONG_SHORT = 200
# Number of long/short baskets that GARCH is fitted on.
GARCH_BASKETS = 40


@dataclass(frozen=True, slots=True, eq=False)
class Baskets:
    """B baskets of n coins: weights (B, n) whose absolute values sum to one, and where each kind lies."""

    coin_ids: tuple[str, ...]
    weights: Floats
    equal: int
    bitcoin: int | None
    long_only: slice
    long_short: slice


def fixed_baskets(coin_ids: tuple[str, ...], seed: int) -> Baskets:
    """Return the baskets: equal weight, bitcoin alone (if present), random long-only and long/short ones."""
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
