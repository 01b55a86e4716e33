"""The only place where the parts of the service are put together."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2
import orjson

from coincast.market.v1 import market_pb2_grpc
from coincast_chassis.app import ServiceApp, Servicer
from coincast_chassis.clock import Clock, SystemClock
from coincast_chassis.errors import Unavailable
from coincast_chassis.observability.metrics import watch_disk
from coincast_market_data.archive.inbox import Inbox
from coincast_market_data.archive.store import Archive
from coincast_market_data.backfill import Backfill
from coincast_market_data.background import Background
from coincast_market_data.cache.entry import Kind
from coincast_market_data.cache.policy import Windows
from coincast_market_data.catalogue import Catalogue, decode_coins, encode_coins
from coincast_market_data.cleaning import Cleaner
from coincast_market_data.documents import DocumentService
from coincast_market_data.edges import Edges, open_edges
from coincast_market_data.encode import ReadyCandles
from coincast_market_data.history.fill import Filler
from coincast_market_data.history.judge import SeriesJudge
from coincast_market_data.history.series import SeriesSource, series_kind
from coincast_market_data.history.service import HistoryService
from coincast_market_data.housekeeping import Housekeeper
from coincast_market_data.markets import MarketService, decode_table, encode_table
from coincast_market_data.prices.batcher import Batcher
from coincast_market_data.prices.document import SimplePrices
from coincast_market_data.prices.hot import HotPairs
from coincast_market_data.prices.judge import PriceJudge
from coincast_market_data.prices.leased import LeasedPairs
from coincast_market_data.prices.ready import ReadyPrices
from coincast_market_data.prices.service import PriceService
from coincast_market_data.prices.source import QuoteCache, QuoteSource, quote_kind
from coincast_market_data.quality import QualityBook
from coincast_market_data.quarantine import JumpGuard
from coincast_market_data.servicer import MarketDataServicer, Services
from coincast_market_data.settings import Plan, Settings, UpstreamName
from coincast_market_data.status import Status
from coincast_market_data.upstream.plans import PLANS
from coincast_market_data.warm import Warmer

Warm = Callable[[], Awaitable[None]]
QUALITY_FILE = ".quality.json"
SERVICE = "coincast.market.v1.MarketDataService"


async def build(
    settings: Settings,
    stack: AsyncExitStack,
    transport: httpx2.AsyncBaseTransport | None = None,
    clock: Clock | None = None,
) -> ServiceApp:
    """The service, ready to run. `transport` and `clock` replace network and time in tests."""
    edges = await open_edges(settings, stack, transport, clock or SystemClock())
    archive = Archive(archive_folder(settings))
    try:
        archive.open()
    except OSError as error:
        raise Unavailable(
            f"MARKET_ARCHIVE_DIR={settings.archive_dir} cannot be used: {error.strerror}"
        ) from error
    stack.callback(archive.close)
    services, warm = put_together(edges, archive, stack)
    servicer = Servicer(
        market_pb2_grpc.add_MarketDataServiceServicer_to_server, MarketDataServicer(services), SERVICE
    )
    return ServiceApp([servicer], warm=warm)


def archive_folder(settings: Settings) -> Path:
    """Invented candles never lie where real ones do."""
    return (
        settings.archive_dir / "sandbox"
        if settings.upstream == UpstreamName.SANDBOX
        else settings.archive_dir
    )


def windows_of(fresh: float, settings: Settings) -> Windows:
    """Fresh, then four times as long servable while refetched, then only where a fetch fails."""
    return Windows(fresh, fresh * 4, max(fresh * 4, settings.stale_if_error_seconds))


def put_together(edges: Edges, archive: Archive, stack: AsyncExitStack) -> tuple[Services, Warm]:
    """The services over the edges, and what must succeed before the first call."""
    settings, quality = edges.settings, QualityBook(archive.root / QUALITY_FILE)
    quality.open()
    catalogue = make_catalogue(edges, stack)
    hot = HotPairs()
    judge, quotes = make_judge(edges, archive)
    prices, batcher = make_prices(edges, catalogue, quality, stack, hot=hot, judge=judge, cache=quotes)
    filler = make_filler(edges, archive, quality, stack)
    backfill = Backfill(filler, edges.data_clock)
    watch_disk("archive", settings.archive_dir)
    status = make_status(edges, batcher, archive, quality)
    services = Services(
        prices,
        ReadyPrices(edges.clock, settings.ready_reply_seconds),
        make_markets(edges, catalogue, quality, judge, stack),
        catalogue,
        make_history(edges, archive, filler, catalogue),
        ReadyCandles(),
        make_documents(edges, prices, catalogue, quality, stack, judge=judge, archive=archive, filler=filler),
        backfill,
        status,
    )
    background = Background(
        settings,
        edges.data_clock,
        prices=prices,
        hot=hot,
        backfill=backfill,
        per_month=edges.governor.limits.per_month,
        observe=status.observe,
    )
    stack.push_async_callback(background.aclose)
    keeper = Housekeeper(archive, Inbox(archive, edges.clock), quality)
    stack.push_async_callback(keeper.aclose)
    return services, Warmer(
        edges.upstream, catalogue, prices, settings, background=background, keeper=keeper
    ).warm


def make_catalogue(edges: Edges, stack: AsyncExitStack) -> Catalogue:
    """Coins and currencies."""
    windows = windows_of(edges.settings.lists_fresh_seconds, edges.settings)
    coins = edges.read_through(Kind("coins", windows, encode_coins, decode_coins), 4)
    codes = edges.read_through(Kind("currencies", windows, orjson.dumps, _decode_codes), 4)
    stack.push_async_callback(coins.aclose)
    stack.push_async_callback(codes.aclose)
    return Catalogue(edges.upstream, coins, codes)


def make_judge(edges: Edges, archive: Archive) -> tuple[PriceJudge, QuoteCache]:
    """Who says which price is believed, and the cache of quotes that it learns from."""
    settings = edges.settings
    kind = quote_kind(settings.prices_fresh_seconds, settings.stale_if_error_seconds)
    cache = edges.cache(kind, settings.memory_entries)
    guard = JumpGuard(max_entries=settings.memory_entries)
    return PriceJudge(guard, cache, archive, edges.clock, edges.data_clock), cache


def make_prices(
    edges: Edges,
    catalogue: Catalogue,
    quality: QualityBook,
    stack: AsyncExitStack,
    *,
    hot: HotPairs,
    judge: PriceJudge,
    cache: QuoteCache,
) -> tuple[PriceService, Batcher]:
    """Spot prices: cache, batcher, upstream."""
    settings = edges.settings

    def note(pair: tuple[str, str], reason: str) -> None:
        quality.note(pair[0], pair[1], f"price: {reason}")

    source = QuoteSource(edges.upstream, cache, edges.clock, judge, note)
    batcher = Batcher(
        source.fetch,
        window_seconds=settings.batch_window_seconds,
        max_ids=settings.batch_max_ids,
        max_query_bytes=settings.batch_max_url_bytes,
        replicas=LeasedPairs(edges.sharing(cache)),
    )
    stack.push_async_callback(batcher.aclose)
    prices = PriceService(
        cache,
        batcher,
        edges.data_clock,
        hot=hot,
        sandbox=edges.sandbox,
        suggest=catalogue.suggest,
        unknown=catalogue.surely_unknown,
        check_currency=catalogue.check_currency,
    )
    stack.push_async_callback(prices.aclose)
    return prices, batcher


def make_filler(edges: Edges, archive: Archive, quality: QualityBook, stack: AsyncExitStack) -> Filler:
    """The way from the upstream's series into the archive."""
    settings = edges.settings
    # What passes through here stays in Redis for the other replicas; this process has the archive.
    shared = edges.read_through(series_kind(), 16)
    stack.push_async_callback(shared.aclose)
    filler = Filler(
        SeriesSource(edges.upstream, shared),
        archive,
        edges.data_clock,
        quality,
        reach_days=settings.history_reach_days or PLANS[settings.plan].reach_days,
        hourly_chunks=settings.plan == Plan.PRO,
        calls_at_once=settings.hourly_calls_at_once,
    )
    stack.push_async_callback(filler.aclose)
    return filler


def make_history(edges: Edges, archive: Archive, filler: Filler, catalogue: Catalogue) -> HistoryService:
    """Daily candles."""
    return HistoryService(
        archive,
        filler,
        edges.data_clock,
        sandbox=edges.sandbox,
        suggest=catalogue.suggest,
        unknown=catalogue.surely_unknown,
        check_currency=catalogue.check_currency,
    )


def make_status(edges: Edges, batcher: Batcher, archive: Archive, quality: QualityBook) -> Status:
    """The eyes on every part."""
    return Status(
        edges.settings,
        edges.pool,
        edges.breakers,
        edges.counts,
        edges.gate,
        edges.store,
        edges.governor,
        batcher,
        archive,
        quality,
        time.monotonic(),
    )


def make_markets(
    edges: Edges, catalogue: Catalogue, quality: QualityBook, judge: PriceJudge, stack: AsyncExitStack
) -> MarketService:
    """The market table."""
    windows = windows_of(edges.settings.markets_fresh_seconds, edges.settings)
    tables = edges.read_through(Kind("markets", windows, encode_table, decode_table), 500)
    stack.push_async_callback(tables.aclose)
    return MarketService(
        edges.upstream,
        tables,
        catalogue,
        quality.note,
        judge,
        max_query_bytes=edges.settings.batch_max_url_bytes,
    )


def make_documents(
    edges: Edges,
    prices: PriceService,
    catalogue: Catalogue,
    quality: QualityBook,
    stack: AsyncExitStack,
    *,
    judge: PriceJudge,
    archive: Archive,
    filler: Filler,
) -> DocumentService:
    """CoinGecko's documents as they are."""
    settings = edges.settings
    short = Kind("document", windows_of(settings.markets_fresh_seconds, settings), bytes, bytes)
    series = Kind("series", windows_of(settings.series_fresh_seconds, settings), bytes, bytes)
    lists = Kind("list", windows_of(settings.lists_fresh_seconds, settings), bytes, bytes)
    caches = {kind.name: edges.read_through(kind, 1000) for kind in (short, series, lists)}
    for cache in caches.values():
        stack.push_async_callback(cache.aclose)
    simple = SimplePrices(
        prices,
        fresh_seconds=settings.prices_fresh_seconds,
        quoted=catalogue.quoted,
        unknown=catalogue.surely_unknown,
    )
    cleaner = Cleaner(quality.note, judge.plausible)
    seam = SeriesJudge(archive, edges.clock, quality.note)
    return DocumentService(edges.upstream, caches, simple, cleaner, judge=judge, seam=seam, keep=filler.keep)


def _decode_codes(data: bytes) -> tuple[str, ...]:
    return tuple(orjson.loads(data))
