"""Round like CoinGecko: to the requested precision; by default spot prices by size, and series not at all."""

from __future__ import annotations

import math

from coincast_sandbox.simulation.currencies import COIN_CODES

# (least price, decimals) of spot prices in a fiat currency. Smaller prices have eight decimals, and those
# below _LEAST_WITH_EIGHT_DECIMALS eight significant digits.
_MONEY_DECIMALS = ((10_000.0, 0), (1.1, 2), (1.0, 3), (0.1, 6))
_LEAST_WITH_EIGHT_DECIMALS = 1e-6
_FIGURES_BELOW = 8


def rounded(value: float, precision: str | None) -> float:
    """Round a number to `precision` decimals (`0`..`18`); `full` and None do not round."""
    if precision is None or precision == "full":
        return value
    return round(value, int(precision))


def spot(value: float, currency: str, precision: str | None = None, *, table: bool = False) -> float:
    """Round a spot price like CoinGecko.

    Args:
        value: The price.
        currency: Lower-case code; prices in coins have more decimals than prices in fiat currencies.
        precision: The requested precision; None is CoinGecko's default rounding.
        table: Whether the price is for `coins/markets`, which has six decimals down to 0.01.
    """
    if precision is not None:
        return rounded(value, precision)
    size = abs(value)
    if currency in COIN_CODES:
        return round(value, 6 if size >= 1 else _small_decimals(size))
    steps = (*_MONEY_DECIMALS, (0.01, 6)) if table else _MONEY_DECIMALS
    for least, decimals in steps:
        if size >= least:
            return round(value, decimals or None)
    return round(value, _small_decimals(size))


def _small_decimals(size: float) -> int:
    if size == 0 or size >= _LEAST_WITH_EIGHT_DECIMALS:
        return 8
    return _FIGURES_BELOW - 1 - math.floor(math.log10(size))
