"""Quotes read back from Redis are checked like those that come in."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coincast_market_data.domain import Quote
from coincast_market_data.identifiers import quote_key
from coincast_market_data.prices.fetcher import is_quote_of

GOOD = Quote("bitcoin", "usd", 100.0, market_cap=5.0, last_updated_at=1e9)
KEY = quote_key(("bitcoin", "usd"))


@pytest.mark.parametrize(
    ("quote", "valid"),
    [
        (GOOD, True),
        (None, True),
        (replace(GOOD, price=float("nan")), False),
        (replace(GOOD, price=float("inf")), False),
        (replace(GOOD, price=-1.0), False),
        (replace(GOOD, price=0.0), False),
        (replace(GOOD, id="ethereum"), False),
        (replace(GOOD, vs_currency="eur"), False),
        (replace(GOOD, market_cap=float("nan")), False),
        (replace(GOOD, last_updated_at=float("inf")), False),
    ],
)
def test_a_quote_of_another_key_or_with_impossible_figures_reads_as_nothing(
    quote: Quote | None, valid: bool
) -> None:
    assert is_quote_of(KEY, quote) is valid
