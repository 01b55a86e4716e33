"""Encode domain objects as protobuf messages, or as the JSON bytes that the gateway sends.

The JSON has ISO 8601 times, rounded numbers, and null for absent figures. Encoded prices and candles are
cached.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Any

import orjson
from google.protobuf import timestamp_pb2

from coincast.common.v1 import common_pb2
from coincast.market.v1 import market_pb2
from coincast_chassis.clock import Clock
from coincast_chassis.json_numbers import round_numbers
from coincast_chassis.resilience.bounded_cache import BoundedCache
from coincast_market_data import domain
from coincast_market_data.coingecko.error_mapping import UpstreamState
from coincast_market_data.domain import (
    Candle,
    History,
    HourlyCandle,
    ItemFailure,
    Market,
    Markets,
    Prices,
    Provenance,
    Quoted,
)
from coincast_market_data.prices.service import worst
from coincast_market_data.prices.watch import PriceUpdate


def iso(moment: float | None) -> str | None:
    """Return UNIX seconds as `2025-09-01T13:00:00Z`, with milliseconds if there are any; None stays None."""
    if moment is None:
        return None
    text = datetime.fromtimestamp(round(moment, 3), UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00").removesuffix(".000") + "Z"


def prices_json(prices: Prices) -> bytes:
    """Encode prices as `{"prices": [...], "errors": [...]}`."""
    return _encode({"prices": [_price(item) for item in prices.prices], "errors": _errors(prices.failures)})


def markets_json(markets: Markets) -> bytes:
    """Encode the market table as `{"markets": [...], "errors": [...]}`."""
    where = _provenance(markets.provenance)
    rows = [{**_market(row), **where} for row in markets.markets]
    return _encode({"markets": rows, "errors": _errors(markets.failures)})


class EncodedCandleCache:
    """Cache of candles as JSON, by the revision of the history.

    Encoding the candles of years takes most of the time of a reply.
    """

    def __init__(self, max_bytes: int = 64 * 1024 * 1024) -> None:
        self._ready: BoundedCache[tuple[str, str, date, date, int, int], bytes] = BoundedCache(
            max_bytes=max_bytes
        )

    def history_json(self, history: History) -> bytes:
        """Encode a history as one object: the coin, its provenance, and its candles, oldest first."""
        head = {
            "id": history.id,
            "vs_currency": history.vs_currency,
            **_provenance(history.provenance),
            "truncated": history.truncated,
            "truncated_reason": history.truncated_reason or None,
            "missing_dates": [day.isoformat() for day in history.missing_days],
            "completeness": history.completeness,
            "partial_reason": history.partial_reason or None,
            "retry_after_seconds": history.retry_after_seconds,
            "quality_notes": list(history.quality_notes),
            "in_doubt": history.in_doubt,
            "interval": "1d" if history.hours is None else "1h",
        }
        if history.hours is not None:
            return _encode(head)[:-1] + b',"candles":' + _hours_json(history.hours) + b"}"
        return _encode(head)[:-1] + b',"candles":' + self._candles(history) + b"}"

    def _candles(self, history: History) -> bytes:
        if history.revision is None or not history.candles:
            # A history of a past moment has no revision, so it is not cached.
            return _encode([_candle(candle) for candle in history.candles])
        span = history.candles[0].day, history.candles[-1].day, len(history.candles)
        key = (history.id, history.vs_currency, *span, history.revision)
        found = self._ready.get(key)
        if found is None:
            found = _encode([_candle(candle) for candle in history.candles])
            self._ready.put(key, found)
        return found


def _encode(document: Any) -> bytes:
    return orjson.dumps(round_numbers(document))


def _provenance(provenance: Provenance) -> dict[str, Any]:
    return {
        "as_of": iso(provenance.as_of),
        "age_seconds": provenance.age_seconds,
        "source": provenance.source,
        "stale": provenance.stale,
        "reason": provenance.reason or None,
    }


def _price(item: Quoted) -> dict[str, Any]:
    quote = item.quote
    return {
        "id": quote.id,
        "vs_currency": quote.vs_currency,
        "price": quote.price,
        "market_cap": quote.market_cap,
        "volume_24h": quote.volume_24h,
        "change_24h_percent": quote.change_24h_percent,
        "last_updated_at": iso(quote.last_updated_at),
        **_provenance(item.provenance),
    }


def _market(row: Market) -> dict[str, Any]:
    names = Market.__slots__
    return {name: getattr(row, name) for name in names if name != "last_updated_at"} | {
        "last_updated_at": iso(row.last_updated_at)
    }


def _hours_json(hours: Sequence[HourlyCandle]) -> bytes:
    return _encode(
        [
            {
                "time": iso(candle.start),
                "open": candle.open,
                "high": candle.high,
                "low": candle.low,
                "close": candle.close,
                "volume": candle.volume,
            }
            for candle in hours
        ]
    )


def _candle(candle: Candle) -> dict[str, Any]:
    return {
        "date": candle.day.isoformat(),
        "open": candle.open,
        "high": candle.high,
        "low": candle.low,
        "close": candle.close,
        "volume": candle.volume,
        "market_cap": candle.market_cap,
    }


def _errors(failures: tuple[ItemFailure, ...] | Any) -> list[dict[str, Any]]:
    return [
        {
            "id": failure.id,
            "kind": failure.kind,
            "message": failure.message,
            "field": failure.field or None,
            "suggestions": list(failure.suggestions),
            "retry_after_seconds": failure.retry_after_seconds,
        }
        for failure in failures
    ]


MAX_BYTES = 16 * 1024 * 1024


class EncodedPriceCache:
    """Cache of encoded price replies, by the bytes of the request.

    Stale and partial replies are not cached.

    Args:
        clock: Measures the age of entries.
        seconds: How long an entry is served, which is also the largest error of an age in it; 0 caches
            nothing.
    """

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._seconds = seconds
        self._ready: BoundedCache[bytes, market_pb2.GetPricesResponse] = BoundedCache(
            max_bytes=MAX_BYTES, ttl_seconds=seconds, clock=clock
        )

    def find(self, key: bytes) -> market_pb2.GetPricesResponse | None:
        """Return the cached reply to a request, or None."""
        return self._ready.get(key)

    def keep(self, key: bytes, reply: market_pb2.GetPricesResponse, prices: Prices) -> None:
        """Cache a reply, unless it is partial or stale.

        Args:
            key: The bytes of the request.
            reply: The encoded reply.
            prices: The prices in the reply.
        """
        if self._seconds <= 0 or prices.failures or any(item.provenance.stale for item in prices.prices):
            return
        self._ready.put(key, reply)


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
    """Return the provenance of the oldest price; None without prices."""
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
        ranges_pending=found.ranges_pending,
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
    """Convert the report of a repair of one coin."""
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
    """Convert the availability of CoinGecko; while it is unavailable, `sentence` has cause and remedy."""
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
    """Convert one message of a stream of live prices."""
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
