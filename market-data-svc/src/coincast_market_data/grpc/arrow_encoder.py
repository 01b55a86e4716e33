"""Candles as an Arrow IPC stream of one record batch, for exports."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from coincast_market_data.domain import Candle, History, HourlyCandle

PRICES = ("open", "high", "low", "close")
NUMBERS = (*((name, pa.float64()) for name in PRICES), ("quote_volume", pa.float64()))
DAILY = pa.schema([("id", pa.string()), ("date", pa.date32()), *NUMBERS, ("market_cap", pa.float64())])
HOURLY = pa.schema([("id", pa.string()), ("date_time", pa.timestamp("s", "UTC")), *NUMBERS])


def history_arrow(found: History) -> bytes:
    """Return the candles of a history, oldest first; absent figures are null."""
    candles: Sequence[Candle | HourlyCandle]
    columns: dict[str, list[object]]
    if found.hours is None:
        schema, candles = DAILY, found.candles
        columns = {
            "date": [candle.day for candle in found.candles],
            "market_cap": [candle.market_cap for candle in found.candles],
        }
    else:
        schema, candles = HOURLY, found.hours
        columns = {"date_time": [candle.start for candle in found.hours]}
    columns["id"] = [found.id] * len(candles)
    columns["quote_volume"] = [candle.volume for candle in candles]
    for name in PRICES:
        columns[name] = [getattr(candle, name) for candle in candles]
    batch = pa.RecordBatch.from_pydict(columns, schema=schema)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(batch)
    encoded: bytes = sink.getvalue().to_pybytes()
    return encoded
