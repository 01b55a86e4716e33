"""Search the catalogue by words, and find the ids nearest to a wrong one."""

from __future__ import annotations

from collections.abc import Sequence

from rapidfuzz import fuzz, process

from coincast_market_data.domain import Coin

SUGGESTIONS = 5
LEAST_SCORE = 60


def search_coins(coins: tuple[Coin, ...], query: str) -> Sequence[Coin]:
    """Return coins with every word in id, symbol or name, exact ids and symbols first.

    Args:
        coins: The catalogue.
        query: Words, in any order and case.
    """
    words = query.lower().split()
    if not words:
        return coins
    found = [coin for coin in coins if all(_mentions(coin, word) for word in words)]
    wanted = query.strip().lower()
    return sorted(
        found, key=lambda c: (c.id != wanted and c.symbol.lower() != wanted, not c.id.startswith(wanted))
    )


def _mentions(coin: Coin, word: str) -> bool:
    return word in coin.id or word in coin.symbol.lower() or word in coin.name.lower()


def nearest_ids(coin: str, coins: tuple[Coin, ...]) -> tuple[str, ...]:
    """Return the known ids most like the given text: ids with that symbol first, then similar ids.

    Args:
        coin: A text that is no known id.
        coins: The catalogue.
    """
    by_symbol = [c.id for c in coins if c.symbol.lower() == coin][:2]
    ids = [c.id for c in coins]
    near = [
        name
        for name, _, _ in process.extract(
            coin, ids, scorer=fuzz.ratio, limit=SUGGESTIONS, score_cutoff=LEAST_SCORE
        )
    ]
    return tuple(dict.fromkeys([*by_symbol, *near]))[:SUGGESTIONS]
