"""The market table, a page or named coins at a time, through the cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict

import orjson

from coincast_chassis.errors import InvalidInput, NotFound
from coincast_market_data import metrics
from coincast_market_data.cache.read_through import Fetch, Fetched, ReadThrough
from coincast_market_data.catalogue import Catalogue
from coincast_market_data.domain import ItemFailure, Market, Markets
from coincast_market_data.failures import failure_of
from coincast_market_data.keys import canonical_currency, document_key, echo, split_ids
from coincast_market_data.parse import Reject, parse_markets
from coincast_market_data.ports import Priority, Upstream, UpstreamRequest

Table = tuple[tuple[Market, ...], tuple[Reject, ...]]


class MarketService:
    """Pages of coins by market value, or the named ones."""

    def __init__(
        self,
        upstream: Upstream,
        tables: ReadThrough[Table],
        catalogue: Catalogue,
        note: Callable[[str, str, str], None],
    ) -> None:
        self._upstream = upstream
        self._tables = tables
        self._catalogue = catalogue
        self._note = note

    async def get(
        self, currency: str, ids: Sequence[str], page: int, per_page: int, max_age_seconds: float | None
    ) -> Markets:
        """One page. Raises InvalidInput for a page that cannot be."""
        code = canonical_currency(currency)
        page, per_page = page or 1, per_page or 100
        if not 1 <= per_page <= 250:
            raise InvalidInput(f"per_page must be 1 to 250; {per_page} was given", field="per_page")
        if not 1 <= page <= 10_000:
            raise InvalidInput(f"page must be 1 to 10000; {page} was given", field="page")
        coins, bad = split_ids(ids) if ids else ([], [])
        failures = [
            ItemFailure(text, "invalid_input", f"{echo(text)} is not a coin id", "ids") for text in bad
        ]
        if bad and not coins:
            raise InvalidInput(failures[0].message, field="ids")
        query = self._query(code, sorted(coins), page, per_page)
        answer = await self._tables.get(
            document_key("coins/markets", query), self._fetch(query, code), max_age_seconds
        )
        rows, rejects = answer.value
        failures += [_rejected(reject) for reject in rejects if reject.id]
        failures += [await self._missing(coin) for coin in _absent(coins, rows, rejects, page)]
        return Markets(rows, answer.provenance, failures)

    def _query(
        self, code: str, coins: Sequence[str], page: int, per_page: int
    ) -> tuple[tuple[str, str], ...]:
        query = [("vs_currency", code), ("order", "market_cap_desc"), ("precision", "full")]
        if coins:
            per_page, page = max(per_page, len(coins)), 1
            query.append(("ids", ",".join(coins)))
        return (*query, ("page", str(page)), ("per_page", str(per_page)))

    def _fetch(self, query: tuple[tuple[str, str], ...], code: str) -> Fetch[Table]:
        async def fetch(priority: Priority) -> Fetched[Table]:
            reply = await self._upstream.fetch(UpstreamRequest("coins/markets", query, "markets", priority))
            rows, rejects = parse_markets(reply.document, code, reply.received_at)
            for reject in rejects:
                metrics.QUARANTINED.labels(reason=reject.reason).inc()
                self._note(reject.id, code, f"market row: {reject.reason}")
            return Fetched((rows, tuple(rejects)), reply.received_at, reply.seconds)

        return fetch

    async def _missing(self, coin: str) -> ItemFailure:
        names = await self._catalogue.suggest(coin)
        hint = f"; did you mean {', '.join(names[:3])}?" if names else ""
        return failure_of(
            coin, NotFound(f"CoinGecko lists no coin {echo(coin)}{hint}", field="ids", suggestions=names)
        )


def _absent(coins: Sequence[str], rows: Sequence[Market], rejects: Sequence[Reject], page: int) -> list[str]:
    del page
    there = {row.id for row in rows} | {reject.id for reject in rejects}
    return [coin for coin in coins if coin not in there]


def _rejected(reject: Reject) -> ItemFailure:
    message = f"CoinGecko's figures of {echo(reject.id)} cannot be true ({reject.reason}) and were put aside"
    return ItemFailure(reject.id, "unavailable", message, retry_after_seconds=30)


def encode_table(table: Table) -> bytes:
    """For the shared cache."""
    rows, rejects = table
    return orjson.dumps([[asdict(row) for row in rows], [[r.id, r.reason] for r in rejects]])


def decode_table(data: bytes) -> Table:
    """From the shared cache."""
    rows, rejects = orjson.loads(data)
    return tuple(Market(**row) for row in rows), tuple(Reject(*row) for row in rejects)
