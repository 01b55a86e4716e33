"""Canonical ids, currencies and cache keys.

Order, case and duplicates in a request make no difference, and an id cannot inject a path or a log line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from coincast_chassis.errors import InvalidInput

MAX_IDS = 250
MAX_CURRENCIES = 20
# The most ids and currencies of a request including repetitions; a longer list is rejected unread.
MAX_RAW_IDS = 4 * MAX_IDS
MAX_RAW_CURRENCIES = 4 * MAX_CURRENCIES
# CoinGecko's list has ids such as `-10`, `1move token` and `boringdao-[old]`. The pattern has no character
# that could lead out of a folder, since ids become file names and paths.
ID = re.compile(r"[a-z0-9_\-\[(][a-z0-9._\- \[\]()]{0,127}")
CURRENCY = re.compile(r"[a-z0-9]{2,10}")
LONGEST_ECHO = 60
# A coin and a currency.
Pair = tuple[str, str]


def canonical_id(text: str, field: str = "id") -> str:
    """Return one coin id in lower case.

    Raises:
        InvalidInput: The text cannot be an id.
    """
    value = text.strip().lower()
    if not ID.fullmatch(value) or ".." in value:
        raise InvalidInput(not_an_id(text), field=field)
    return value


def canonical_currency(text: str, field: str = "vs_currency") -> str:
    """Return one currency code in lower case; empty means usd.

    Raises:
        InvalidInput: The text cannot be a code.
    """
    value = text.strip().lower() or "usd"
    if not CURRENCY.fullmatch(value):
        raise InvalidInput(
            f"{echo(text)} is not a currency code; codes are like 'usd', 'eur', 'btc'", field=field
        )
    return value


def is_canonical(coin: str, currency: str) -> bool:
    """Return whether a coin and a currency are as canonical_id and canonical_currency return them."""
    return (
        bool(ID.fullmatch(coin) and CURRENCY.fullmatch(currency))
        and ".." not in coin
        and coin == coin.strip()
    )


def split_ids(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return (canonical ids, malformed texts), each in order of first mention and without repetitions.

    A list of more than four times the limit is rejected before any id is parsed.

    Raises:
        InvalidInput: There are no ids, or too many.
    """
    if not texts:
        raise InvalidInput("name at least one coin id, as in ids=bitcoin", field="ids")
    if len(texts) > MAX_RAW_IDS:
        raise InvalidInput(f"at most {MAX_IDS} ids a call; {len(texts)} were given", field="ids")
    good: dict[str, None] = {}
    bad: dict[str, None] = {}
    for text in texts:
        value = text.strip().lower()
        if ID.fullmatch(value) and ".." not in value:
            good[value] = None
        else:
            bad[text[:LONGEST_ECHO]] = None
    if len(good) + len(bad) > MAX_IDS:
        raise InvalidInput(f"at most {MAX_IDS} ids a call; {len(good) + len(bad)} were given", field="ids")
    return list(good), list(bad)


def canonical_currencies(texts: Sequence[str]) -> list[str]:
    """Return canonical currency codes in order of first mention; an empty list means usd.

    Raises:
        InvalidInput: A text is not a currency code, or there are too many.
    """
    if len(texts) > MAX_RAW_CURRENCIES:
        raise InvalidInput(
            f"at most {MAX_CURRENCIES} currencies a call; {len(texts)} were given", field="vs_currencies"
        )
    values = list(dict.fromkeys(canonical_currency(text, "vs_currencies") for text in texts)) or ["usd"]
    if len(values) > MAX_CURRENCIES:
        raise InvalidInput(
            f"at most {MAX_CURRENCIES} currencies a call; {len(values)} were given", field="vs_currencies"
        )
    return values


def not_an_id(text: str) -> str:
    """Return the error message about a malformed id."""
    return (
        f"{echo(text)} is not a coin id; ids have lower-case letters, digits, '-', '_' and '.', as 'bitcoin'"
    )


def echo(text: str) -> str:
    """Return a caller's text for an error message: shortened and with escapes for unprintable characters."""
    shown = text[:LONGEST_ECHO] + ("..." if len(text) > LONGEST_ECHO else "")
    return repr(shown)


def quote_key(pair: Pair) -> str:
    """Return the cache key of the quote of a pair.

    The currency comes first, since it has no colon; so an id with a colon cannot be mistaken for a currency.
    """
    return f"{pair[1]}:{pair[0]}"


def pair_of(key: str) -> Pair:
    """Return the coin and currency of a key that `quote_key` made."""
    currency, _, coin = key.partition(":")
    return coin, currency


def document_key(path: str, query: Iterable[tuple[str, str]]) -> str:
    """Return the cache key of a document.

    Parameters are sorted and written with their lengths, so that different queries never share a key.

    Args:
        path: The path below the base address.
        query: Its parameters as (name, value).
    """
    parts = [path, *(f"{len(k)}:{k}={len(v)}:{v}" for k, v in sorted(query))]
    return "|".join(parts)


def read_document_key(key: str) -> tuple[str, dict[str, str]]:
    """Return the path and the parameters of a key that `document_key` made.

    Raises:
        ValueError: It is no such key.
    """
    path, _, rest = key.partition("|")
    query: dict[str, str] = {}
    while rest:
        length, _, rest = rest.partition(":")
        name, rest = rest[: int(length)], rest[int(length) :].removeprefix("=")
        length, _, rest = rest.partition(":")
        query[name], rest = rest[: int(length)], rest[int(length) :].removeprefix("|")
    return path, query
