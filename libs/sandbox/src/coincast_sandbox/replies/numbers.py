"""How CoinGecko rounds: to the precision asked for, in full for series, and to a reader's taste for spot
prices.
"""

import math


def rounded(value: float, precision: str | None) -> float:
    """A number with `precision` decimals (`0`..`18`); in full where it is `full` or absent."""
    if precision is None or precision == "full":
        return value
    return round(value, int(precision))


def spot(value: float, precision: str | None) -> float:
    """A spot price: where no precision is asked, two decimals from 1 on and six figures below."""
    if precision is not None:
        return rounded(value, precision)
    if abs(value) >= 1 or value == 0:
        return round(value, 2)
    return round(value, 5 - math.floor(math.log10(abs(value))))
