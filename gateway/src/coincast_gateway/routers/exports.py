"""Bulk export: histories and the forecast log as Parquet, an Arrow stream or CSV."""

from __future__ import annotations

import asyncio
import datetime as dt
import importlib
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from coincast.market.v1 import market_pb2 as market_pb
from coincast.training.v1 import training_pb2 as training_pb
from coincast_chassis.clock import steady_clock
from coincast_chassis.errors import Unavailable
from coincast_gateway.asgi_types import header
from coincast_gateway.auth.authenticator import READ
from coincast_gateway.clients.market import MarketClient
from coincast_gateway.clients.training import TrainingClient
from coincast_gateway.dependencies import Exports, Market, Training
from coincast_gateway.errors.partial_results import malformed_id_errors, refuse_if_all_failed
from coincast_gateway.errors.problems import NOT_FOUND, NOT_READY, service_responses
from coincast_gateway.formats.exports import Export, Part, errors_text
from coincast_gateway.formats.metadata import licence_of
from coincast_gateway.formats.negotiation import MEDIA_TYPES, TABLES, Format, choose_format
from coincast_gateway.routers.coins import days_since
from coincast_gateway.schemas.parameters import split_ids
from coincast_gateway.schemas.requests.exports import HistoriesExportQuery, LedgerExportQuery
from coincast_gateway.schemas.requests.market import first_moment
from coincast_gateway.serialization import enum_name, iso, iso_moment, iso_seconds, item_error

router = APIRouter(tags=["export"], dependencies=[READ])
TABLE_CONTENT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The table.",
        "content": {
            MEDIA_TYPES[each].partition(";")[0]: {
                "schema": {"type": "string"} if each is Format.CSV else {"type": "string", "format": "binary"}
            }
            for each in (Format.CSV, Format.ARROW, Format.PARQUET)
        },
    }
}
LOGGED_LEVELS = (80, 95)


def format_of(request: Request, wanted: str | None) -> Format:
    """Return the format of an export: that of `format=`, otherwise of Accept, otherwise Parquet.

    Raises:
        ProblemException: 406 if Accept names no format of a table.
    """
    return choose_format(
        header(request.scope, b"accept"), wanted=wanted or "", offered=TABLES, default=Format.PARQUET
    )


@router.get(
    "/export/histories",
    operation_id="export_histories",
    summary="Daily or hourly candles of many coins as Parquet, an Arrow stream or CSV",
    response_class=StreamingResponse,
    responses=service_responses(NOT_FOUND) | TABLE_CONTENT,
)
async def export_histories(
    query: Annotated[HistoriesExportQuery, Query()], market: Market, exports: Exports, request: Request
) -> StreamingResponse:
    """Return candles of closed UTC days or hours, coin by coin, oldest first.

    The metadata of the file has the source, time and licence of the data, the version of the gateway, and the
    coins that could not be served.
    """
    good, bad = split_ids(query.ids)
    if not good:
        refuse_if_all_failed(0, malformed_id_errors(bad))
    source = HistoriesSource(market, query, good, bad)
    await source.start()
    export = Export(source, format_of(request, query.format), "histories", exports)
    return await export.respond(request.scope)


@router.get(
    "/export/ledger",
    operation_id="export_ledger",
    summary="Forecasts as they were served, with their outcomes, as Parquet, an Arrow stream or CSV",
    response_class=StreamingResponse,
    responses=service_responses(NOT_FOUND, NOT_READY) | TABLE_CONTENT,
)
async def export_ledger(
    query: Annotated[LedgerExportQuery, Query()], training: Training, exports: Exports, request: Request
) -> StreamingResponse:
    """Return one row for each forecast and horizon, oldest first; logged forecasts are never changed."""
    good, bad = split_ids(query.ids or ())
    if query.ids and not good:
        refuse_if_all_failed(0, malformed_id_errors(bad))
    source = LedgerSource(training, query, good, bad)
    await source.start()
    return await Export(source, format_of(request, query.format), "forecast-log", exports).respond(
        request.scope
    )


class HistoriesSource:
    """Source of the candles of many coins, which market-data-svc streams as record batches.

    Args:
        market: The client of market-data-svc.
        query: The request.
        ids: Its valid coin ids.
        bad: Its malformed coin ids.
    """

    def __init__(
        self, market: MarketClient, query: HistoriesExportQuery, ids: list[str], bad: list[str]
    ) -> None:
        self._query = query
        self._errors = malformed_id_errors(bad)
        self._coins: dict[str, dict[str, Any]] = {}
        self._columnar: Any = None
        self.schema: Any = None
        self.opening: Mapping[str, str] = {}
        first = first_moment(query.from_, query.to, days=query.days)
        days = query.days if first is None else days_since(first, query.as_of, steady_clock())
        request = market_pb.StreamHistoryRequest(
            ids=ids, vs_currency=query.vs_currency, days=days, encode_arrow=True, bulk=True
        )
        if query.interval == "1h":
            request.interval = market_pb.CANDLE_INTERVAL_ONE_HOUR
        if query.as_of is not None:
            request.known_at.FromDatetime(query.as_of)
        self._stream = market.histories(request)
        self._first: Part | None = None

    async def start(self) -> None:
        """Request the histories and wait for the first candles.

        Raises:
            ProblemException: No coin could be served.
            CoincastError: market-data-svc does not answer.
        """
        self._columnar = await asyncio.to_thread(importlib.import_module, "coincast_gateway.formats.columnar")
        self._first = await self._next()
        refuse_if_all_failed(len(self._coins), self._errors)
        if not self._coins:
            raise Unavailable("Market data sent no history.")
        first = next(iter(self._coins.values()))
        self.opening = {
            "table": "histories",
            "source": first["source"],
            "as_of": first["as_of"] if self._query.as_of is None else iso_moment(self._query.as_of),
            "vs_currency": self._query.vs_currency,
            "interval": self._query.interval,
            "licence": licence_of(first["source"]),
        }

    async def parts(self) -> AsyncGenerator[Part]:
        """Yield the candles."""
        async with aclosing(self._stream):  # type: ignore[type-var]  # the client gives a generator
            part = self._first
            while part is not None:
                yield part
                part = await self._next()

    def closing(self) -> Mapping[str, str]:
        """Return the provenance of each coin's history, and the errors of the others."""
        return {"coins": json.dumps(self._coins), "errors": errors_text(self._errors)}

    async def _next(self) -> Part | None:
        async for message in self._stream:
            if message.WhichOneof("chunk") == "error":
                self._errors.append(item_error(message.error))
                continue
            history = message.history
            self._coins.setdefault(history.id, history_metadata(history))
            (batch,) = self._columnar.read_batches(history.arrow)
            # The schema is taken before the cut, since a table without candles in the span needs columns,
            # too.
            self.schema = batch.schema
            batch = cut_batch(batch, self._query)
            if batch.num_rows:
                return Part(batch)
        return None


def history_metadata(history: market_pb.History) -> dict[str, Any]:
    """Return the provenance of a coin's history, for the metadata of a file."""
    return {
        "source": enum_name(history.provenance, "source"),
        "as_of": iso(history.provenance.as_of),
        "stale": history.provenance.stale,
        "completeness": enum_name(history, "completeness"),
        "truncated_reason": history.truncated_reason or None,
        "missing_dates": list(history.missing_dates),
        "quality_notes": list(history.quality_notes),
    }


def cut_batch(batch: Any, query: HistoriesExportQuery) -> Any:
    """Return the candles whose start lies within the requested span."""
    if query.from_ is None and query.to is None:
        return batch
    column = batch.column(1)
    starts = [start if isinstance(start, dt.datetime) else _midnight(start) for start in column.to_pylist()]
    begins = first_moment(query.from_, query.to, days=query.days)
    first = next((i for i, s in enumerate(starts) if begins is None or s >= begins), len(starts))
    last = next((i for i, s in enumerate(starts) if query.to is not None and s > query.to), len(starts))
    return batch.slice(first, max(0, last - first))


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), dt.UTC)


class LedgerSource:
    """Source of the forecast log, which training-svc streams.

    Args:
        training: The client of training-svc.
        query: The request.
        ids: Its valid coin ids.
        bad: Its malformed coin ids.
    """

    def __init__(
        self, training: TrainingClient, query: LedgerExportQuery, ids: list[str], bad: list[str]
    ) -> None:
        self._errors = malformed_id_errors(bad)
        self._stream = training.forecast_log_stream(
            training_pb.StreamForecastLogRequest(
                ids=ids,
                model=query.model,
                from_date=query.from_.isoformat() if query.from_ else "",
                to_date=query.to.isoformat() if query.to else "",
                horizon_days=0 if query.hours else query.horizon,
                horizon_hours=query.hours,
            )
        )
        self._first: training_pb.StreamForecastLogResponse | None = None
        self._pa: Any = None
        self.schema: Any = None
        self.opening: Mapping[str, str] = {}

    async def start(self) -> None:
        """Wait for the first entries.

        Raises:
            CoincastError: training-svc does not answer.
        """
        columnar = await asyncio.to_thread(importlib.import_module, "coincast_gateway.formats.columnar")
        self._pa = columnar.pa
        self.schema = ledger_schema(self._pa)
        self._first = await anext(self._stream, None)
        self.opening = {
            "table": "forecast-log",
            "source": "forecast log",
            "as_of": iso_seconds(int(steady_clock().now())),
            "licence": licence_of(""),
        }

    async def parts(self) -> AsyncGenerator[Part]:
        """Yield the entries."""
        async with aclosing(self._stream):  # type: ignore[type-var]  # the client gives a generator
            chunk = self._first
            while chunk is not None:
                yield Part(await asyncio.to_thread(self._batch, chunk))
                chunk = await anext(self._stream, None)

    def closing(self) -> Mapping[str, str]:
        """Return the errors of malformed ids."""
        return {"errors": errors_text(self._errors)}

    def _batch(self, chunk: training_pb.StreamForecastLogResponse) -> Any:
        rows = [ledger_row(entry) for entry in chunk.forecasts]
        return self._pa.RecordBatch.from_pylist(rows, schema=self.schema)


def ledger_schema(pa: Any) -> Any:
    """Return the Arrow schema of an exported forecast log.

    Args:
        pa: The module pyarrow, which is imported at the first export.
    """
    moment = pa.timestamp("ms", "UTC")
    texts = ("forecast_id", "id", "vs_currency", "model", "version", "variant", "served_by")
    numbers = ("last_price", "median", *(f"{side}_{n}" for n in LOGGED_LEVELS for side in ("lower", "upper")))
    return pa.schema(
        [
            *((name, pa.string()) for name in texts),
            ("as_of", moment),
            ("served_at", moment),
            ("closes_at", moment),
            ("horizon_days", pa.int32()),
            ("horizon_hours", pa.int32()),
            *((name, pa.float64()) for name in numbers),
            ("outcome", pa.float64()),
            ("crps", pa.float64()),
            ("degraded", pa.bool_()),
        ]
    )


def ledger_row(entry: training_pb.LoggedForecast) -> dict[str, Any]:
    """Return a logged forecast as a flat row."""
    row: dict[str, Any] = {
        name: getattr(entry, name)
        for name in (
            "forecast_id", "id", "vs_currency", "model", "version", "variant", "served_by",
            "horizon_days", "horizon_hours", "last_price", "median",
        )
    }  # fmt: skip
    row["as_of"] = entry.as_of.ToDatetime(tzinfo=dt.UTC) if entry.HasField("as_of") else None
    row["served_at"] = entry.served_at.ToDatetime(tzinfo=dt.UTC) if entry.HasField("served_at") else None
    row["closes_at"] = entry.closes_at.ToDatetime(tzinfo=dt.UTC) if entry.HasField("closes_at") else None
    row["outcome"] = entry.outcome if entry.HasField("outcome") else None
    row["crps"] = entry.crps if entry.HasField("crps") else None
    row["degraded"] = entry.degraded if entry.HasField("degraded") else None
    bounds = {round(each.level_percent): each for each in entry.intervals}
    for level in LOGGED_LEVELS:
        if level in bounds:
            row[f"lower_{level}"], row[f"upper_{level}"] = bounds[level].lower, bounds[level].upper
    return row
