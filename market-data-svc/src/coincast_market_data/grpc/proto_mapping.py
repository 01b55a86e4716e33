"""Conversion between the domain and protobuf."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from google.protobuf import timestamp_pb2

from coincast.common.v1 import common_pb2
from coincast.market.v1 import market_pb2
from coincast_market_data import domain
from coincast_market_data.coingecko.availability import UpstreamState
from coincast_market_data.prices.service import worst
from coincast_market_data.prices.watch import PriceUpdate

SOURCES = {
    domain.Source.LIVE: common_pb2.SOURCE_LIVE,
    domain.Source.FRESH: common_pb2.SOURCE_FRESH,
    domain.Source.STALE: common_pb2.SOURCE_STALE,
    domain.Source.ARCHIVE: common_pb2.SOURCE_ARCHIVE,
    domain.Source.SANDBOX: common_pb2.SOURCE_SANDBOX,
}


COMPLETENESS = {
    domain.Completeness.WHOLE: market_pb2.HISTORY_COMPLETENESS_WHOLE,
    domain.Completeness.CUT_BY_PLAN: market_pb2.HISTORY_COMPLETENESS_CUT_BY_PLAN,
    domain.Completeness.PARTIAL: market_pb2.HISTORY_COMPLETENESS_PARTIAL,
}


def timestamp(moment: float) -> timestamp_pb2.Timestamp:
    """Convert UNIX seconds."""
    found = timestamp_pb2.Timestamp()
    found.FromMicroseconds(round(moment * 1e6))
    return found


def provenance(where: domain.Provenance) -> common_pb2.Provenance:
    """Convert the provenance of a figure."""
    return common_pb2.Provenance(
        as_of=timestamp(where.as_of),
        age_seconds=where.age_seconds,
        source=SOURCES[where.source],
        stale=where.stale,
        reason=where.reason,
    )


def item_error(failure: domain.ItemFailure) -> common_pb2.ItemError:
    """Convert the reason why one item could not be served."""
    kind = common_pb2.ErrorKind.Value(f"ERROR_KIND_{failure.kind.upper()}")
    return common_pb2.ItemError(
        id=failure.id,
        kind=kind,
        message=failure.message,
        field=failure.field,
        suggestions=failure.suggestions,
        retry_after_seconds=failure.retry_after_seconds,
    )


def price(item: domain.Quoted) -> market_pb2.Price:
    """Convert the price of one coin in one currency."""
    quote = item.quote
    found = market_pb2.Price(
        id=quote.id,
        vs_currency=quote.vs_currency,
        price=quote.price,
        market_cap=quote.market_cap,
        volume_24h=quote.volume_24h,
        change_24h_percent=quote.change_24h_percent,
        provenance=provenance(item.provenance),
    )
    if quote.last_updated_at is not None:
        found.last_updated_at.CopyFrom(timestamp(quote.last_updated_at))
    return found


def prices_provenance(prices: domain.Prices) -> common_pb2.Provenance | None:
    """Return the provenance of the oldest price."""
    where = worst(item.provenance for item in prices.prices)
    return provenance(where) if where else None


def market(row: domain.Market) -> market_pb2.Market:
    """Convert one row of the market table."""
    names = [name for name in domain.Market.__slots__ if name != "last_updated_at"]
    found = market_pb2.Market(**{name: getattr(row, name) for name in names})
    if row.last_updated_at is not None:
        found.last_updated_at.CopyFrom(timestamp(row.last_updated_at))
    return found


def candle(found: domain.Candle) -> market_pb2.Candle:
    """Convert the candle of one closed day."""
    return market_pb2.Candle(
        date=found.day.isoformat(),
        open=found.open,
        high=found.high,
        low=found.low,
        close=found.close,
        volume=found.volume,
        market_cap=found.market_cap,
    )


def hourly_candle(found: domain.HourlyCandle) -> market_pb2.HourlyCandle:
    """Convert the candle of one closed hour."""
    return market_pb2.HourlyCandle(
        start_unix_seconds=found.start,
        open=found.open,
        high=found.high,
        low=found.low,
        close=found.close,
        volume=found.volume,
    )


def history(found: domain.History) -> market_pb2.History:
    """Convert one coin's candles."""
    return market_pb2.History(
        id=found.id,
        vs_currency=found.vs_currency,
        candles=[candle(item) for item in found.candles],
        truncated=found.truncated,
        truncated_reason=found.truncated_reason,
        missing_dates=[day.isoformat() for day in found.missing_days],
        provenance=provenance(found.provenance),
        completeness=COMPLETENESS[found.completeness],
        partial_reason=found.partial_reason,
        retry_after_seconds=found.retry_after_seconds,
        quality_notes=found.quality_notes,
        in_doubt=found.in_doubt,
        from_sparkline=found.from_sparkline,
        interval=market_pb2.CANDLE_INTERVAL_ONE_DAY
        if found.hours is None
        else market_pb2.CANDLE_INTERVAL_ONE_HOUR,
        hourly_candles=[hourly_candle(item) for item in found.hours or ()],
    )


def ohlc(candles: Iterable[domain.OhlcCandle]) -> list[market_pb2.OhlcCandle]:
    """Convert candles as CoinGecko's `ohlc` gives them."""
    return [
        market_pb2.OhlcCandle(
            closed_at=timestamp(c.closed_at), open=c.open, high=c.high, low=c.low, close=c.close
        )
        for c in candles
    ]


def coin(found: domain.Coin) -> market_pb2.Coin:
    """Convert one entry of the catalogue."""
    return market_pb2.Coin(id=found.id, symbol=found.symbol, name=found.name)


def progress(step: domain.Progress) -> market_pb2.BackfillResponse:
    """Convert one step of a backfill."""
    found = market_pb2.BackfillResponse(
        id=step.id,
        coins_done=step.coins_done,
        coins_total=step.coins_total,
        candles_added=step.candles_added,
        calls_left_this_minute=step.calls_left,
        seconds_left=step.seconds_left,
    )
    if step.failure is not None:
        found.error.CopyFrom(item_error(step.failure))
    return found


def repair_report(report: domain.RepairReport) -> market_pb2.RepairResponse:
    """Return what a repair did for one coin."""
    found = market_pb2.RepairResponse(
        id=report.id,
        vs_currency=report.vs_currency,
        coins_done=report.coins_done,
        coins_total=report.coins_total,
        implausible_dates=[iso_date(day) for day in report.implausible_days],
        implausible_hours=report.implausible_hours,
        days_confirmed=report.confirmed_days,
        days_put_aside=report.days_put_aside,
        days_fetched=report.days_fetched,
        hours_fetched=report.hours_fetched,
        implausible_range_dates=[iso_date(day) for day in report.implausible_ranges],
        ranges_confirmed=report.ranges_confirmed,
        ranges_put_aside=report.ranges_put_aside,
        ranges_fetched=report.ranges_fetched,
    )
    if report.failure is not None:
        found.error.CopyFrom(item_error(report.failure))
    return found


def upstream_status(state: UpstreamState) -> market_pb2.UpstreamStatus:
    """Return whether CoinGecko is available, and if not, the reason and the fix."""
    return market_pb2.UpstreamStatus(
        available=state.available,
        cause=state.cause or "",
        sentence=state.sentence,
        since=timestamp(state.since),
        permanent=state.permanent,
        retry_after_seconds=state.retry_after_seconds,
        tried=state.tried,
    )


def price_update(update: PriceUpdate) -> market_pb2.WatchPricesResponse:
    """Return one message of a stream of live prices."""
    return market_pb2.WatchPricesResponse(
        event_id=update.event_id,
        prices=[price(item) for item in update.prices],
        errors=[item_error(failure) for failure in update.failures],
        heartbeat=update.heartbeat,
    )


def quality(report: domain.Quality) -> market_pb2.QualityReport:
    """Convert the known defects of one coin's data."""
    return market_pb2.QualityReport(
        id=report.id,
        vs_currency=report.vs_currency,
        missing_days=report.missing_days,
        duplicate_points=report.duplicate_points,
        quarantined_points=report.quarantined_points,
        last_good_date=iso_date(report.last_good_day),
        notes=report.notes,
    )


def iso_date(day: date | None) -> str:
    """Return the day as `YYYY-MM-DD`, or an empty string."""
    return day.isoformat() if day else ""
