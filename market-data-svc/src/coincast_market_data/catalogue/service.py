"""The catalogue of coins and currencies: list, search, and suggestions for a misspelt id.

A budget limits the upstream calls for coins that are not in the catalogue.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import orjson
from rapidfuzz import fuzz, process

from coincast_chassis.clock import Clock
from coincast_chassis.errors import CoincastError, InvalidInput
from coincast_market_data import metrics
from coincast_market_data.cache.read_through import FetchResult, ReadThrough, ServedValue
from coincast_market_data.coingecko.error_mapping import BadData
from coincast_market_data.coingecko.parser import parse_coins, parse_currencies
from coincast_market_data.domain import Coin, Provenance
from coincast_market_data.identifiers import CURRENCY, MAX_CURRENCIES
from coincast_market_data.ports import CoinDirectory, Priority, Upstream, UpstreamRequest
from coincast_market_data.validation.outliers import ConfirmationTracker

SUGGESTIONS = 5
LEAST_SCORE = 60


def search_coins(coins: tuple[Coin, ...], query: str) -> Sequence[Coin]:
    """Return the coins that contain every word in id, symbol or name; exact ids and symbols first.

    Args:
        coins: The catalogue.
        query: Words, in any order and case; empty returns all coins.
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
    """Return at most five ids that resemble a text: first those with this symbol, then similar ids.

    Args:
        coin: A text that is not a known id.
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


# The token bucket of look-ups of unknown coins: its size, and the time after which it gains a token.
BURST = 250
SECONDS_PER_TOKEN = 1.0
MAX_ALLOWED = 1000


class UnknownCoinBudget:
    """Decides whether a coin that is not in the catalogue is looked up at CoinGecko.

    The catalogue can be an hour old, and CoinGecko has prices of coins that are not in its list, so a missing
    coin must be looked up. Misspelt ids must not use up the quota, so a token bucket limits these look-ups. A
    coin that was looked up needs no further token, since its result is cached.

    Args:
        directory: The coins that CoinGecko lists.
        clock: Its monotonic time fills the token bucket.
    """

    def __init__(self, directory: CoinDirectory, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        self._tokens = float(BURST)
        self._filled_at = clock.monotonic()
        self._allowed: dict[str, None] = {}

    def refuses(self, coin: str) -> bool:
        """Return whether a coin is treated as unknown without a look-up; otherwise take a token for it."""
        if not self._directory.is_certainly_unknown(coin) or coin in self._allowed:
            return False
        now = self._clock.monotonic()
        self._tokens = min(float(BURST), self._tokens + (now - self._filled_at) / SECONDS_PER_TOKEN)
        self._filled_at = now
        if self._tokens < 1.0:
            return True
        self._tokens -= 1.0
        if len(self._allowed) >= MAX_ALLOWED:
            del self._allowed[next(iter(self._allowed))]
        self._allowed[coin] = None
        return False


LONGEST_QUERY = 100
MOST_HINTS = 1000
# A list with less than this share of its previous rows needs confirmation by a later fetch.
SHRUNKEN_SHARE = 0.8


class Catalogue:
    """The lists of coins and currencies, read through the cache.

    The last loaded lists stay in memory, for checks of ids and currencies without a look-up.

    Args:
        upstream: CoinGecko.
        coins: The cache of the list of coins.
        currencies: The cache of the list of currencies.
    """

    def __init__(
        self,
        upstream: Upstream,
        coins: ReadThrough[tuple[Coin, ...]],
        currencies: ReadThrough[tuple[str, ...]],
    ) -> None:
        self._upstream = upstream
        self._coins = coins
        self._currencies = currencies
        self._known: frozenset[str] = frozenset()
        self._seen: tuple[Coin, ...] = ()
        self._codes: tuple[str, ...] = ()
        self._hints: dict[str, tuple[str, ...]] = {}
        self._shrunken = ConfirmationTracker()

    async def list(
        self, query: str, limit: int, page_token: str, max_age_seconds: float | None = None
    ) -> tuple[Sequence[Coin], str, int, Provenance]:
        """Return a page of the coins that match a query.

        Args:
            query: Words to search for; empty for all coins.
            limit: Coins per page, 1 to 1000; 0 means 100.
            page_token: The token of the page, from the previous page; empty for the first one.
            max_age_seconds: The maximum accepted age; None for any.

        Returns:
            The coins of the page, the token of the next page (empty after the last one), the number of all
            matching coins, and the provenance of the list.

        Raises:
            InvalidInput: The limit, the query or the token is not valid.
            Unavailable: The list cannot be loaded.
        """
        limit = limit or 100
        if not 1 <= limit <= 1000:
            raise InvalidInput(f"limit must be 1 to 1000; {limit} was given", field="limit")
        if len(query) > LONGEST_QUERY:
            raise InvalidInput(f"query may have at most {LONGEST_QUERY} characters", field="query")
        start = _offset(page_token)
        answer = await self.coins(max_age_seconds)
        found = search_coins(answer.value, query)
        page = found[start : start + limit]
        following = str(start + limit) if start + limit < len(found) else ""
        return page, following, len(found), answer.provenance

    async def coins(self, max_age_seconds: float | None = None) -> ServedValue[tuple[Coin, ...]]:
        """Return the whole catalogue."""
        answer = await self._coins.get("coins", self._fetch_coins, max_age_seconds)
        if answer.value is not self._seen:
            self._seen = answer.value
            self._known = frozenset(coin.id for coin in answer.value)
            self._hints.clear()
        return answer

    async def currencies(self, max_age_seconds: float | None = None) -> ServedValue[tuple[str, ...]]:
        """Return the currency codes."""
        answer = await self._currencies.get("vs_currencies", self._fetch_currencies, max_age_seconds)
        self._codes = answer.value
        return answer

    def is_certainly_unknown(self, coin: str) -> bool:
        """Return whether the catalogue is loaded and does not have the id."""
        return bool(self._known) and coin not in self._known

    @property
    def is_known(self) -> bool:
        """Whether the list of coins has been loaded."""
        return bool(self._known)

    def is_certainly_known(self, coin: str) -> bool:
        """Return whether the catalogue is loaded and has the id."""
        return coin in self._known

    async def suggest(self, coin: str) -> Sequence[str]:
        """Return ids that resemble a text, best first; none if the catalogue is not available."""
        try:
            await self.coins()
        except CoincastError:
            return ()
        names = self._hints.get(coin)
        if names is None:
            names = await asyncio.to_thread(nearest_ids, coin, self._seen)
            if len(self._hints) >= MOST_HINTS:
                self._hints.clear()
            self._hints[coin] = names
        return names

    def check_currency(self, code: str, field: str) -> None:
        """Check that prices are quoted in a currency; every currency passes until the list is loaded.

        Args:
            code: The currency.
            field: The field of the request that the error names.

        Raises:
            InvalidInput: Prices are not quoted in this currency.
        """
        if not self._codes or code in self._codes:
            return
        near = [name for name, _, _ in process.extract(code, self._codes, limit=3)]
        raise InvalidInput(
            f"{code} is not a currency that prices are quoted in; did you mean {', '.join(near)}?",
            field=field,
            suggestions=near,
        )

    async def quoted(self, codes: Sequence[str]) -> Sequence[str]:
        """Return the codes in which prices are quoted; without the list, all well-formed codes."""
        if not self._codes:
            with contextlib.suppress(CoincastError):
                await self.currencies()
        if not self._codes:
            return [code for code in codes if CURRENCY.fullmatch(code)][:MAX_CURRENCIES]
        return [code for code in codes if code in self._codes]

    async def _fetch_coins(self, priority: Priority) -> FetchResult[tuple[Coin, ...]]:
        reply = await self._upstream.fetch(UpstreamRequest("coins/list", (), "lists", priority))
        coins = parse_coins(reply.document)
        self._check_length("coins", len(coins), len(self._known), reply.received_at)
        return FetchResult(coins, reply.as_of, reply.seconds)

    def _check_length(self, what: str, now: int, before: int, at: float) -> None:
        """Reject a list that lost a large part of its rows, until later fetches confirm it.

        Meanwhile the earlier list is served, marked as stale with this reason.

        Args:
            what: `coins` or `currencies`.
            now: The number of rows of the fetched list.
            before: The number of rows of the earlier list.
            at: When it was fetched, UNIX seconds on the upstream's clock.

        Raises:
            BadData: The list is rejected.
        """
        if now >= before * SHRUNKEN_SHARE:
            self._shrunken.forget((what, ""))
        elif now == 0 or not self._shrunken.confirmed((what, ""), float(now), at):
            metrics.QUARANTINED.labels(reason="shrunken_list").inc()
            raise BadData(
                f"CoinGecko's list of {what} shrank from {before} to {now} rows and is not confirmed yet"
            )

    async def _fetch_currencies(self, priority: Priority) -> FetchResult[tuple[str, ...]]:
        reply = await self._upstream.fetch(
            UpstreamRequest("simple/supported_vs_currencies", (), "lists", priority)
        )
        codes = parse_currencies(reply.document)
        self._check_length("currencies", len(codes), len(self._codes), reply.received_at)
        return FetchResult(codes, reply.as_of, reply.seconds)


def encode_coins(coins: tuple[Coin, ...]) -> bytes:
    """Encode the catalogue for the shared cache."""
    return orjson.dumps([[coin.id, coin.symbol, coin.name] for coin in coins])


def decode_coins(data: bytes) -> tuple[Coin, ...]:
    """Decode the catalogue from the shared cache."""
    return tuple(Coin(*row) for row in orjson.loads(data))


def _offset(token: str) -> int:
    if not token:
        return 0
    if not (token.isascii() and token.isdigit() and len(token) < 8):
        raise InvalidInput("page_token must be one that a previous reply gave", field="page_token")
    return int(token)
