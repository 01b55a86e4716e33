"""Format numbers and times for display: one set of rules for terminal, notebook and reports.

The web page follows the same rules in `format.js`; both are tested on one table of cases.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, date, datetime

MISSING = "–"
MINUS = "−"
# Prices below this are shown in scientific notation, since many leading zeros are hard to count.
TINY = 1e-6
_UNITS = (("T", 1e12), ("B", 1e9), ("M", 1e6))
_AGES = (("day", 86400), ("hour", 3600), ("minute", 60))
_CURRENCY_SIGNS = {"usd": "$", "eur": "€", "gbp": "£", "jpy": "¥", "btc": "₿", "eth": "Ξ"}
_CURRENCY_WORDS = {
    "usd": "dollars",
    "eur": "euros",
    "gbp": "pounds",
    "jpy": "yen",
    "btc": "bitcoin",
    "eth": "ether",
}


def price(value: float | None) -> str:
    """Format a price with a number of digits that depends on its size.

    Prices of at least 1000 have no decimals, those of at least 1 have two, smaller ones five significant
    digits, and those below a millionth the form `1.18e-6`.
    """
    if value is None or not math.isfinite(value):
        return MISSING
    size = abs(value)
    if size == 0:
        return "0"
    return MINUS + _size(size) if value < 0 else _size(size)


def _size(size: float) -> str:
    """Format a price above zero."""
    if size < TINY:
        mantissa, exponent = f"{size:.2e}".split("e")
        if "." in mantissa:
            mantissa = mantissa.rstrip("0").rstrip(".")
        return f"{mantissa}e{int(exponent)}"
    if size >= 1000:
        return f"{size:,.0f}"
    if size >= 1:
        return f"{size:,.2f}"
    decimals = min(10, 4 - math.floor(math.log10(size)))
    text = f"{size:.{decimals}f}"
    return text.rstrip("0").rstrip(".")


def compact(value: float | None) -> str:
    """Format a large amount in short form: `2.16 T`."""
    if value is None or not math.isfinite(value):
        return MISSING
    for unit, size in _UNITS:
        if abs(value) >= size:
            return f"{MINUS if value < 0 else ''}{abs(value) / size:.2f} {unit}"
    return price(value)


def money(value: float | None, code: str = "usd") -> str:
    """Format a price with the sign of its currency, or with its code: `$108,246`, `1,234 CHF`."""
    return _signed(value, code, price)


def compact_money(value: float | None, code: str = "usd") -> str:
    """Format a large sum with the sign of its currency in few characters: `$2.16 T`."""
    return _signed(value, code, compact)


def _signed(value: float | None, code: str, text: Callable[[float], str]) -> str:
    if value is None or not math.isfinite(value):
        return MISSING
    size, sign = text(abs(value)), _CURRENCY_SIGNS.get(code)
    return f"{MINUS if value < 0 else ''}{f'{sign}{size}' if sign else f'{size} {code.upper()}'}"


def percent(value: float | None, decimals: int = 1) -> str:
    """Format a change in percent with its sign: `+1.5 %`, `−6.0 %`."""
    if value is None or not math.isfinite(value):
        return MISSING
    text = f"{abs(value):.{decimals}f}"
    sign = "" if float(text) == 0 else MINUS if value < 0 else "+"
    return f"{sign}{text} %"


def share(value: float | None, decimals: int = 1) -> str:
    """Format a share in percent, without a plus: `79.8 %`, `−6.4 %` of a loss for a coin that reduces it."""
    return percent(value, decimals).removeprefix("+")


def chance(value: float | None) -> str:
    """Format a probability from 0 to 1 in percent; only what cannot be otherwise is 0 or 100 %."""
    if value is None or not math.isfinite(value):
        return MISSING
    if 0 < value < 0.01:
        return "under 1 %"
    return "over 99 %" if 0.99 < value < 1 else f"{100 * value:.0f} %"


def count(value: int | None) -> str:
    """Format an integer with thousands separators."""
    return MISSING if value is None else f"{value:,}"


def plural(value: int, word: str) -> str:
    """Format a number of things: `1 day`, `7 days`."""
    return f"{count(value)} {word}{'' if value == 1 else 's'}"


def day(value: date | datetime | None) -> str:
    """Format a day as `2026-11-29`."""
    if value is None:
        return MISSING
    return (value.date() if isinstance(value, datetime) else value).isoformat()


def rfc3339(value: datetime | None) -> str | None:
    """Format a time for programs, in UTC: `2026-11-29T14:05:00Z`; None stays None."""
    return None if value is None else value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def moment(value: datetime | None) -> str:
    """Format a time to the minute, in UTC: `2026-11-29 14:05 UTC`."""
    return MISSING if value is None else value.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def age(seconds: float | None) -> str:
    """Format an age in its largest unit: `3 hours ago`."""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    for unit, size in _AGES:
        whole = int(seconds // size)
        if whole >= 1:
            return f"{whole} {unit}{'s' if whole > 1 else ''} ago"
    return "just now"


def currency(code: str) -> str:
    """Return the word for a currency in a sentence: `dollars` for usd."""
    return _CURRENCY_WORDS.get(code, code.upper())
