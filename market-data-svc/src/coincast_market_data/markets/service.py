"""The market table: pages of coins by market value, or the rows of named coins, through the cache."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import orjson

from coincast_chassis.errors import InvalidInput, NotFound
from coincast_market_data import metrics
from coincast_market_data.cache.read_through import Fetch, FetchResult, ReadThrough, ServedValue
from coincast_market_data.catalogue.service import Catalogue
from coincast_market_data.coingecko.error_mapping import BadData
from coincast_market_data.coingecko.parser import (
    Reject,
    figure_fault,
    market_figure_faults,
    parse_markets,
    price_fault,
)
from coincast_market_data.domain import ItemFailure, Market, Markets
from coincast_market_data.identifiers import canonical_currency, document_key, echo, split_ids
from coincast_market_data.item_errors import item_failure
from coincast_market_data.ports import DefectLog, Priority, Upstream, UpstreamRequest
from coincast_market_data.prices.fetcher import split_by_width
from coincast_market_data.prices.service import MOST_HINTS, worst
from coincast_market_data.validation.outliers import PlausibilityChecker

Query = tuple[tuple[str, str], ...]
Table = tuple[tuple[Market, ...], tuple[Reject, ...]]
MOST_A_PAGE = 250
LONGEST_COMMON_BYTES = 120


class MarketService:
    """Serves pages of the market table, or the rows of named coins.

    Args:
        upstream: CoinGecko.
        tables: The cache of tables.
        catalogue: The catalogue of coins and currencies.
        defects: Records quarantined figures.
        judge: Checks whether prices are plausible.
        max_query_bytes: The longest query string of one upstream call.
    """

    def __init__(
        self,
        upstream: Upstream,
        tables: ReadThrough[Table],
        catalogue: Catalogue,
        defects: DefectLog,
        judge: PlausibilityChecker,
        *,
        max_query_bytes: int,
    ) -> None:
        self._upstream = upstream
        self._tables = tables
        self._catalogue = catalogue
        self._defects = defects
        self._judge = judge
        self._max_query_bytes = max_query_bytes

    async def get(
        self, currency: str, ids: Sequence[str], page: int, per_page: int, max_age_seconds: float | None
    ) -> Markets:
        """Return a page of coins by market value, or the rows of named coins.

        Args:
            currency: The code of the currency.
            ids: The named coins; empty for all coins by market value.
            page: The number of the page, from 1; 0 means 1.
            per_page: Rows per page, 1 to 250; 0 means 100.
            max_age_seconds: The maximum accepted age; None for any.

        Raises:
            InvalidInput: An argument is not valid.
            CoincastError: The table cannot be fetched.
        """
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
        self._catalogue.check_currency(code, "vs_currency")
        queries = self._queries(code, sorted(coins), page, per_page)
        answers = await asyncio.gather(*(self._page(query, code, max_age_seconds) for query in queries))
        rows = [row for answer in answers for row in answer.value[0]]
        rejects = [reject for answer in answers for reject in answer.value[1]]
        if len(answers) > 1:
            rows.sort(key=lambda row: -(row.market_cap or 0.0))
        failures += [_rejected(reject) for reject in rejects if reject.id]
        for coin in _absent(coins, rows, rejects):
            failures.append(await self._missing(coin, hints=len(failures) < MOST_HINTS))
        provenance = worst(answer.provenance for answer in answers)
        return Markets(rows, provenance or answers[0].provenance, failures)

    def _queries(self, code: str, coins: Sequence[str], page: int, per_page: int) -> list[Query]:
        """Return one query for a page; for named coins as many as the length of a query string requires."""
        common = (("vs_currency", code), ("order", "market_cap_desc"), ("precision", "full"))
        if not coins:
            return [(*common, ("page", str(page)), ("per_page", str(per_page)))]
        return [
            (*common, ("ids", ",".join(part)), ("page", "1"), ("per_page", str(MOST_A_PAGE)))
            for part in split_by_width(coins, self._max_query_bytes - LONGEST_COMMON_BYTES, MOST_A_PAGE)
        ]

    async def _page(self, query: Query, code: str, max_age: float | None) -> ServedValue[Table]:
        return await self._tables.get(document_key("coins/markets", query), self._fetch(query, code), max_age)

    def _fetch(self, query: Query, code: str) -> Fetch[Table]:
        async def fetch(priority: Priority) -> FetchResult[Table]:
            reply = await self._upstream.fetch(UpstreamRequest("coins/markets", query, "markets", priority))
            rows, rejects = parse_markets(reply.document, code, reply.received_at)
            self._check_not_empty(query, reply.document)
            await self._judge.prepare((row.id, code) for row in rows if row.price is not None)
            jumped = {row.id for row in rows if not self._plausible(row)}
            rejects += [Reject(coin, "jump") for coin in sorted(jumped)]
            rows = tuple(row for row in rows if row.id not in jumped)
            for coin, figure, fault in _figure_faults(reply.document, rows):
                metrics.QUARANTINED.labels(reason=fault).inc()
                self._defects.note(coin, code, f"market row: {figure} {fault}")
            for reject in rejects:
                metrics.QUARANTINED.labels(reason=reject.reason).inc()
                self._defects.note(reject.id, code, f"market row: {reject.reason}")
            return FetchResult((rows, tuple(rejects)), reply.as_of, reply.seconds)

        return fetch

    def _check_not_empty(self, query: Query, document: Any) -> None:
        """Reject an empty table although coins are known, so that the earlier table is served.

        Raises:
            BadData: The table is rejected.
        """
        parameters = dict(query)
        wanted = parameters.get("ids", "").split(",") if "ids" in parameters else []
        first_page = not wanted and parameters.get("page") == "1" and self._catalogue.is_known
        if not document and (first_page or any(self._catalogue.is_certainly_known(coin) for coin in wanted)):
            metrics.QUARANTINED.labels(reason="empty_table").inc()
            raise BadData("CoinGecko's market table is empty although coins are known")

    def _plausible(self, row: Market) -> bool:
        return row.price is None or self._judge.plausible((row.id, row.vs_currency), row.price)

    async def _missing(self, coin: str, *, hints: bool) -> ItemFailure:
        if self._catalogue.is_certainly_known(coin):
            return item_failure(
                coin, NotFound(f"CoinGecko lists {coin}, but has no market data of it", field="ids")
            )
        names = await self._catalogue.suggest(coin) if hints else ()
        hint = f"; did you mean {', '.join(names[:3])}?" if names else ""
        return item_failure(
            coin, NotFound(f"CoinGecko lists no coin {echo(coin)}{hint}", field="ids", suggestions=names)
        )


def _absent(coins: Sequence[str], rows: Sequence[Market], rejects: Sequence[Reject]) -> list[str]:
    there = {row.id for row in rows} | {reject.id for reject in rejects}
    return [coin for coin in coins if coin not in there]


def _figure_faults(document: Any, rows: Sequence[Market]) -> Iterator[tuple[str, str, str]]:
    """Yield (coin, name of the figure, fault) for each figure of an accepted row that is left out."""
    taken = {row.id for row in rows}
    for row in document:
        if isinstance(row, dict) and row.get("id") in taken:
            yield from ((row["id"], name, fault) for name, fault in market_figure_faults(row))


def _rejected(reject: Reject) -> ItemFailure:
    message = f"CoinGecko's figures of {echo(reject.id)} cannot be true ({reject.reason}) and were rejected"
    return ItemFailure(reject.id, "unavailable", message, retry_after_seconds=30)


def encode_table(table: Table) -> bytes:
    """Encode a table for the shared cache."""
    rows, rejects = table
    return orjson.dumps([[asdict(row) for row in rows], [[r.id, r.reason] for r in rejects]])


def decode_table(data: bytes) -> Table:
    """Decode a table from the shared cache."""
    rows, rejects = orjson.loads(data)
    return tuple(Market(**row) for row in rows), tuple(Reject(*row) for row in rejects)


def is_table(_key: str, table: Table) -> bool:
    """Return whether the figures of a table that was read from Redis can be true."""
    rows, rejects = table
    return all(map(_can_be_true, rows)) and all(isinstance(reject.id, str) for reject in rejects)


def _can_be_true(row: Market) -> bool:
    amounts = (row.market_cap, row.volume_24h, row.high_24h, row.low_24h, row.all_time_high)
    supplies = (row.circulating_supply_coins, row.total_supply_coins, row.max_supply_coins)
    named = isinstance(row.id, str) and isinstance(row.symbol, str) and isinstance(row.name, str)
    return (
        named
        and isinstance(row.vs_currency, str)
        and (row.price is None or not price_fault(row.price))
        and not any(figure_fault(value) for value in (*amounts, *supplies))
        and not figure_fault(row.change_24h_percent, signed=True)
        and (row.last_updated_at is None or math.isfinite(row.last_updated_at))
    )
