"""Composition root: builds the service from its components."""

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
from coincast_market_data.archive.hourly_store import HourlyArchive
from coincast_market_data.archive.inbox import Inbox
from coincast_market_data.archive.store import Archive
from coincast_market_data.cache.freshness import FreshnessPolicy
from coincast_market_data.cache.two_level import CacheKind
from coincast_market_data.catalogue.service import Catalogue, UnknownCoinBudget, decode_coins, encode_coins
from coincast_market_data.coingecko.api_plans import ApiPlan
from coincast_market_data.grpc.proto_mapping import EncodedCandleCache, EncodedPriceCache
from coincast_market_data.grpc.servicer import MarketDataServicer, Services
from coincast_market_data.grpc.status import Status
from coincast_market_data.history.gap_filler import ChartClient, GapFiller, chart_kind
from coincast_market_data.history.series_validation import SeriesValidator
from coincast_market_data.history.service import HistoryService
from coincast_market_data.history.sparkline import WeeklySparklines
from coincast_market_data.infrastructure import Infrastructure, open_infrastructure
from coincast_market_data.jobs.backfill import BackfillJob
from coincast_market_data.jobs.maintenance import MaintenanceJobs
from coincast_market_data.jobs.refresh import RefreshJobs, refresh_interval
from coincast_market_data.jobs.repair import RepairJob
from coincast_market_data.jobs.warmup import CacheWarmer
from coincast_market_data.markets.service import MarketService, Table, decode_table, encode_table, is_table
from coincast_market_data.passthrough.service import PassthroughService, document_validator
from coincast_market_data.prices.batcher import PairLeases, PriceBatcher
from coincast_market_data.prices.fetcher import QuoteCache, QuoteFetcher, compared_kind, quote_kind
from coincast_market_data.prices.service import PairPopularity, PriceService
from coincast_market_data.prices.simple_price import SimplePriceService
from coincast_market_data.prices.watch import PriceWatch
from coincast_market_data.settings import Settings, UpstreamName
from coincast_market_data.validation.outliers import OutlierDetector, PlausibilityChecker
from coincast_market_data.validation.quality_log import QualityLog
from coincast_market_data.validation.sanitizer import PayloadSanitizer

Warm = Callable[[], Awaitable[None]]
QUALITY_FILE = ".quality.json"
SERVICE = "coincast.market.v1.MarketDataService"


async def build(
    settings: Settings,
    stack: AsyncExitStack,
    transport: httpx2.AsyncBaseTransport | None = None,
    clock: Clock | None = None,
) -> ServiceApp:
    """Build the service.

    Args:
        settings: The service's settings.
        stack: Closes everything that is opened here, in reverse order.
        transport: Replaces the network in tests.
        clock: Replaces the time in tests.

    Raises:
        Unavailable: The archive folder cannot be used.
    """
    infrastructure = await open_infrastructure(settings, stack, transport, clock or SystemClock())
    archive = Archive(archive_folder(settings))
    try:
        archive.open()
    except OSError as error:
        raise Unavailable(
            f"MARKET_ARCHIVE_DIR={settings.archive_dir} cannot be used: {error.strerror}"
        ) from error
    stack.callback(archive.close)
    services, warm = build_services(infrastructure, archive, stack)
    servicer = Servicer(
        market_pb2_grpc.add_MarketDataServiceServicer_to_server, MarketDataServicer(services), SERVICE
    )
    return ServiceApp([servicer], warm=warm, drain=services.watch.drain)


def archive_folder(settings: Settings) -> Path:
    """Return the archive folder; candles of the sandbox have one of their own, apart from real ones."""
    return (
        settings.archive_dir / "sandbox"
        if settings.upstream == UpstreamName.SANDBOX
        else settings.archive_dir
    )


def freshness_policy(fresh: float, settings: Settings) -> FreshnessPolicy:
    """Return the windows of an entry: fresh, stale-while-revalidate, stale-if-error.

    Args:
        fresh: Seconds for which an entry is fresh. Until four times this age it is served while it is
            refreshed.
        settings: `stale_if_error_seconds` is the age up to which it is served after a failed fetch.
    """
    return FreshnessPolicy(fresh, fresh * 4, max(fresh * 4, settings.stale_if_error_seconds))


def build_services(
    infrastructure: Infrastructure, archive: Archive, stack: AsyncExitStack
) -> tuple[Services, Warm]:
    """Build the services.

    Args:
        infrastructure: Clocks, Redis and the upstream client.
        archive: The open archive.
        stack: Receives the clean-up of every component.

    Returns:
        The services, and the cache warm-up, which runs before the service reports ready.
    """
    settings, quality = infrastructure.settings, QualityLog(archive.root / QUALITY_FILE)
    quality.open()
    catalogue = make_catalogue(infrastructure, stack)
    hot = PairPopularity()
    plausibility, quotes = make_plausibility(infrastructure, archive)
    prices, batcher, source = make_prices(
        infrastructure, catalogue, quality, stack, hot=hot, plausibility=plausibility, cache=quotes
    )
    plausibility.use_source(prices.refresh)
    hours = HourlyArchive(archive, retention_days=settings.hourly_retention_days)
    filler = make_gap_filler(infrastructure, archive, hours, quality, stack, spot=plausibility)
    sparklines = WeeklySparklines(infrastructure.upstream, infrastructure.clock, plausibility)
    stack.push_async_callback(sparklines.aclose)
    backfill = BackfillJob(
        filler,
        infrastructure.data_clock,
        run_clock=infrastructure.clock,
        allowance=infrastructure.limiter,
    )
    watch_disk("archive", settings.archive_dir)
    status = make_status(infrastructure, batcher, archive, quality)
    services = Services(
        prices=prices,
        ready=EncodedPriceCache(infrastructure.clock, settings.ready_reply_seconds),
        markets=make_markets(infrastructure, catalogue, quality, plausibility, stack),
        catalogue=catalogue,
        history=make_history(infrastructure, archive, filler, catalogue, hours=hours, sparklines=sparklines),
        candles=EncodedCandleCache(),
        documents=make_documents(
            infrastructure,
            prices,
            catalogue,
            quality,
            stack,
            plausibility=plausibility,
            archive=archive,
            filler=filler,
            source=source,
        ),
        backfill=backfill,
        repair=RepairJob(archive, filler, prices),
        status=status,
        watch=make_watch(infrastructure, prices, stack),
    )
    background = RefreshJobs(
        settings,
        infrastructure.data_clock,
        prices=prices,
        hot=hot,
        backfill=backfill,
        per_month=infrastructure.limiter.limits.per_month,
        observe=status.observe,
        read_plan=infrastructure.plan_monitor.refresh,
    )
    stack.push_async_callback(background.aclose)
    keeper = MaintenanceJobs(archive, Inbox(archive, infrastructure.clock, hours), quality)
    stack.push_async_callback(keeper.aclose)
    return services, CacheWarmer(
        infrastructure.upstream,
        catalogue,
        prices,
        settings,
        plan_monitor=infrastructure.plan_monitor,
        background=background,
        keeper=keeper,
    ).warm


def make_catalogue(infrastructure: Infrastructure, stack: AsyncExitStack) -> Catalogue:
    """Build the catalogue of coins and currencies."""
    windows = freshness_policy(infrastructure.settings.lists_fresh_seconds, infrastructure.settings)
    coins = infrastructure.read_through(CacheKind("coins", windows, encode_coins, decode_coins), 4)
    codes = infrastructure.read_through(CacheKind("currencies", windows, orjson.dumps, _decode_codes), 4)
    stack.push_async_callback(coins.aclose)
    stack.push_async_callback(codes.aclose)
    return Catalogue(infrastructure.upstream, coins, codes)


def make_watch(infrastructure: Infrastructure, prices: PriceService, stack: AsyncExitStack) -> PriceWatch:
    """Build the stream of live prices, which polls as often as the plan allows."""
    settings = infrastructure.settings
    watch = PriceWatch(
        prices,
        infrastructure.clock,
        poll_seconds=refresh_interval(settings.prices_fresh_seconds, infrastructure.limiter.limits.per_month),
        heartbeat_seconds=settings.watch_heartbeat_seconds,
    )
    stack.push_async_callback(watch.aclose)
    return watch


def make_plausibility(
    infrastructure: Infrastructure, archive: Archive
) -> tuple[PlausibilityChecker, QuoteCache]:
    """Build the plausibility checker, and the cache of quotes that it compares with."""
    settings = infrastructure.settings
    kind = quote_kind(settings.prices_fresh_seconds, settings.stale_if_error_seconds)
    cache = infrastructure.cache(kind, settings.memory_entries)
    guard = OutlierDetector(max_entries=settings.memory_entries)
    checker = PlausibilityChecker(guard, cache, archive, infrastructure.clock, infrastructure.data_clock)
    cache.kind = compared_kind(kind, checker)
    return checker, cache


def make_prices(
    infrastructure: Infrastructure,
    catalogue: Catalogue,
    quality: QualityLog,
    stack: AsyncExitStack,
    *,
    hot: PairPopularity,
    plausibility: PlausibilityChecker,
    cache: QuoteCache,
) -> tuple[PriceService, PriceBatcher, QuoteFetcher]:
    """Build the spot prices: cache, batcher and upstream fetcher."""
    settings = infrastructure.settings

    source = QuoteFetcher(infrastructure.upstream, cache, infrastructure.clock, plausibility, quality)
    batcher = PriceBatcher(
        source.fetch,
        window_seconds=settings.batch_window_seconds,
        max_ids=settings.batch_max_ids,
        max_query_bytes=settings.batch_max_url_bytes,
        replicas=PairLeases(infrastructure.sharing(cache)),
    )
    stack.push_async_callback(batcher.aclose)
    prices = PriceService(
        cache,
        batcher,
        infrastructure.data_clock,
        hot=hot,
        sandbox=infrastructure.sandbox,
        directory=catalogue,
        look_ups=UnknownCoinBudget(catalogue, infrastructure.clock),
        queue=infrastructure.limiter,
    )
    stack.push_async_callback(prices.aclose)
    return prices, batcher, source


def make_gap_filler(
    infrastructure: Infrastructure,
    archive: Archive,
    hours: HourlyArchive,
    quality: QualityLog,
    stack: AsyncExitStack,
    *,
    spot: PlausibilityChecker,
) -> GapFiller:
    """Build the gap filler, which fetches series from the upstream into the archive."""
    settings = infrastructure.settings
    # This process stores fetched charts in its archive; the cache in Redis is for the other replicas.
    shared = infrastructure.read_through(chart_kind(), 16)
    stack.push_async_callback(shared.aclose)
    filler = GapFiller(
        ChartClient(infrastructure.upstream, shared),
        archive,
        infrastructure.data_clock,
        quality,
        reach_days=infrastructure.plan.current.reach_days,
        hourly_chunks=infrastructure.plan.current.paid,
        calls_at_once=settings.hourly_calls_at_once,
        hours=hours,
        spot=spot,
    )
    stack.push_async_callback(filler.aclose)

    def follow_plan(plan: ApiPlan) -> None:
        filler.use_plan(reach_days=plan.reach_days, hourly_chunks=plan.paid)

    infrastructure.plan.on_change(follow_plan)
    return filler


def make_history(
    infrastructure: Infrastructure,
    archive: Archive,
    filler: GapFiller,
    catalogue: Catalogue,
    *,
    hours: HourlyArchive,
    sparklines: WeeklySparklines,
) -> HistoryService:
    """Build the service of daily and hourly candles."""
    return HistoryService(
        archive,
        filler,
        infrastructure.data_clock,
        sandbox=infrastructure.sandbox,
        monotonic=infrastructure.clock,
        hours=hours,
        sparklines=sparklines,
        queue=infrastructure.limiter,
        directory=catalogue,
    )


def make_status(
    infrastructure: Infrastructure, batcher: PriceBatcher, archive: Archive, quality: QualityLog
) -> Status:
    """Build the status report over every component."""
    return Status(
        settings=infrastructure.settings,
        pool=infrastructure.pool,
        breakers=infrastructure.breakers,
        counts=infrastructure.counts,
        executor=infrastructure.executor,
        store=infrastructure.store,
        limiter=infrastructure.limiter,
        upstream=infrastructure.upstream,
        batcher=batcher,
        archive=archive,
        quality=quality,
        started=time.monotonic(),
        plan=infrastructure.plan,
        availability=infrastructure.availability,
    )


def make_markets(
    infrastructure: Infrastructure,
    catalogue: Catalogue,
    quality: QualityLog,
    plausibility: PlausibilityChecker,
    stack: AsyncExitStack,
) -> MarketService:
    """Build the market table."""
    windows = freshness_policy(infrastructure.settings.markets_fresh_seconds, infrastructure.settings)

    def is_plausible(key: str, table: Table) -> bool:
        prices = (((row.id, row.vs_currency), row.price) for row in table[0])
        return is_table(key, table) and all(
            price is None or plausibility.consistent(pair, price) for pair, price in prices
        )

    kind = CacheKind("markets", windows, encode_table, decode_table, is_plausible)
    tables = infrastructure.read_through(kind, 500)
    stack.push_async_callback(tables.aclose)
    return MarketService(
        infrastructure.upstream,
        tables,
        catalogue,
        quality,
        plausibility,
        max_query_bytes=infrastructure.settings.batch_max_url_bytes,
    )


def make_documents(
    infrastructure: Infrastructure,
    prices: PriceService,
    catalogue: Catalogue,
    quality: QualityLog,
    stack: AsyncExitStack,
    *,
    plausibility: PlausibilityChecker,
    archive: Archive,
    filler: GapFiller,
    source: QuoteFetcher,
) -> PassthroughService:
    """Build the service that passes CoinGecko's documents through in their own shape."""
    settings = infrastructure.settings
    seconds = {
        "document": settings.markets_fresh_seconds,
        "series": settings.series_fresh_seconds,
        "list": settings.lists_fresh_seconds,
    }
    valid = document_validator(plausibility.consistent)
    kinds = (
        CacheKind(name, freshness_policy(fresh, settings), bytes, bytes, valid)
        for name, fresh in seconds.items()
    )
    caches = {kind.name: infrastructure.read_through(kind, 1000) for kind in kinds}
    for cache in caches.values():
        stack.push_async_callback(cache.aclose)
    simple = SimplePriceService(
        prices,
        fresh_seconds=settings.prices_fresh_seconds,
        directory=catalogue,
        unusable=source,
    )
    cleaner = PayloadSanitizer(quality.note, plausibility.plausible)
    validator = SeriesValidator(archive, plausibility, infrastructure.clock, quality)
    return PassthroughService(
        infrastructure.upstream,
        caches,
        simple,
        cleaner,
        plausibility=plausibility,
        series_validator=validator,
        keep=filler.keep,
        clock=infrastructure.clock,
    )


def _decode_codes(data: bytes) -> tuple[str, ...]:
    return tuple(orjson.loads(data))
