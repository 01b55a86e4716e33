"""The precision of numbers in JSON replies, by the name of the field.

Percents have 4 decimals, seconds have 1, and every other figure has 10 significant digits. More digits are
noise of floating-point arithmetic (`1.1102230246251565e-14`), and they cost bytes.
"""

from __future__ import annotations

from typing import Any

# The standard error of a percent is in percentage points and gets the same precision as the percent.
PERCENT_NAMES = ("percent", "_standard_error")
PERCENT_DECIMALS = 4
SECONDS_DECIMALS = 1
SIGNIFICANT_DIGITS = 10


def round_number(name: str, value: float) -> float:
    """Round a number to the precision for its field's name.

    Args:
        name: The field: `skill_percent` and `percent` are percents, `age_seconds` is a duration.
        value: The number; NaN and infinities are returned as they are.
    """
    if name.endswith(PERCENT_NAMES):
        # Adding zero turns -0.0 into 0.0.
        return round(value, PERCENT_DECIMALS) + 0.0
    if name.endswith("_seconds"):
        return round(value, SECONDS_DECIMALS) + 0.0
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}") + 0.0


def round_numbers(value: Any, name: str = "") -> Any:
    """Return a JSON document with every floating-point number rounded; integers stay as they are.

    Args:
        value: What a JSON document may hold: mappings, lists, tuples and scalars.
        name: The field that holds the value. Items of a list have the name of their list.
    """
    kind = type(value)
    if kind is float:
        return round_number(name, value)
    if kind is dict:
        return {key: round_numbers(each, key) for key, each in value.items()}
    if kind is list or kind is tuple:
        return [round_numbers(each, name) for each in value]
    return value
