"""Replies as the gateway sends them: JSON bytes with ISO 8601 times, rounded numbers, and null for absent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import orjson

from coincast_chassis.json_numbers import round_numbers
from coincast_chassis.resilience.bounded_cache import BoundedCache
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


def iso(moment: float | None) -> str | None:
    """Return `2025-09-01T13:00:00Z`; milliseconds only where there are any."""
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
    """Cache candles as JSON until a candle changes; encoding years of them costs most of a reply."""

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
            # The candles of a past moment are not those of the stored revision.
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
