"""Exports over REST: Parquet, Arrow and CSV with their metadata, streamed, errors named in the file."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import httpx2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coincast.forecast.v1 import forecast_pb2 as fc
from coincast.market.v1 import market_pb2 as mk
from coincast.training.v1 import training_pb2 as tr
from coincast_gateway.errors.problems import ProblemException
from coincast_gateway.formats.exports import ExportSlots
from tests.contract.gateway.fakes import World, client_of, world
from tests.contract.gateway.test_gateway_numbers import RFC_3339

ARROW, PARQUET = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"


async def get(there: World, path: str, **headers: str) -> httpx2.Response:
    async with client_of(there) as client:
        return await client.get(path, headers=headers)


def read(reply: httpx2.Response, wanted: str) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return the rows and the metadata of an exported file."""
    assert reply.status_code == 200, reply.text
    if wanted == "csv":
        head, *lines = reply.text.splitlines()
        known = dict(part.split("=", 1) for part in head.removeprefix("# ").split(" | "))
        errors = [line for line in lines if line.startswith("# error: ")]
        rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
        return rows, {**known, "errors": json.dumps(errors)}
    if wanted == "parquet":
        table = pq.read_table(io.BytesIO(reply.content))
        footer = pq.read_metadata(io.BytesIO(reply.content)).metadata
        return table.to_pylist(), text_of({**footer, **table.schema.metadata})
    with pa.ipc.open_stream(reply.content) as reader:
        found, rows = dict(reader.schema.metadata), []
        for batch, custom in reader.iter_batches_with_custom_metadata():
            rows += batch.to_pylist()
            found |= dict(custom or {})
    return rows, text_of(found)


def table_of(text: str) -> str:
    """Return a CSV file without the comment line at its beginning, if it has one."""
    return text.partition("\n")[2] if text.startswith("# ") else text


def text_of(found: dict[bytes, bytes]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in found.items()}


@pytest.mark.parametrize("wanted", ["csv", "arrow", "parquet"])
@pytest.mark.parametrize("interval", ["1d", "1h"])
async def test_histories_of_many_coins_in_one_call_with_metadata(wanted: str, interval: str) -> None:
    query = f"ids=bitcoin,nocoin,ethereum,Bad%20Id&days=100&interval={interval}&format={wanted}"
    async with world() as there:
        reply = await get(there, f"/export/histories?{query}")
        request = there.market.script.requested(mk.StreamHistoryRequest)
    rows, known = read(reply, wanted)
    count = 100 if interval == "1d" else 2400
    assert [row["id"] for row in rows] == ["bitcoin"] * count + ["ethereum"] * count
    assert float(rows[-1]["close"]) == 2000.0 + (interval == "1h")
    assert float(rows[-1]["quote_volume"]) == (1e9 if interval == "1d" else 1e6)
    assert (list(request.ids), request.encode_arrow) == (["bitcoin", "nocoin", "ethereum"], True)
    assert known["source"] == "sandbox"
    assert known["as_of"] == "2023-11-14T00:00:00Z"
    assert known["version"].startswith("coincast ")
    assert "Simulated" in known["licence"] and "  " not in known["licence"]
    assert "nocoin" in known["errors"]
    assert "bad id" in known["errors"]
    assert reply.headers["cache-control"] == "no-store"
    assert f'filename="histories.{wanted}"' in reply.headers["content-disposition"]


@pytest.mark.parametrize(
    ("accept", "content"),
    [
        ("*/*", PARQUET),
        ("", PARQUET),
        (PARQUET, PARQUET),
        (ARROW, ARROW),
        ("text/csv", "text/csv; charset=utf-8"),
        (f"application/json, {ARROW};q=0.5", ARROW),
        ("application/*", PARQUET),
    ],
)
async def test_accept_chooses_the_format(accept: str, content: str) -> None:
    async with world() as there:
        reply = await get(there, "/export/histories?ids=bitcoin&days=3", accept=accept)
    assert (reply.status_code, reply.headers["content-type"]) == (200, content)


async def test_accept_without_a_table_is_refused_with_what_there_is() -> None:
    async with world() as there:
        reply = await get(there, "/export/histories?ids=bitcoin", accept="application/json")
    assert reply.status_code == 406
    assert PARQUET in reply.json()["allowed"]


@pytest.mark.parametrize(
    ("query", "first", "last"),
    [
        ("from=2023-11-01&to=2023-11-03", "2023-11-01", "2023-11-03"),
        ("from=2023-11-12", "2023-11-12", "2023-11-13"),
        ("days=20&to=2023-11-10", "2023-10-22", "2023-11-10"),
    ],
)
async def test_span_is_cut_inclusively(query: str, first: str, last: str) -> None:
    async with world() as there:
        reply = await get(there, f"/export/histories?ids=bitcoin&format=csv&{query}")
    rows, _ = read(reply, "csv")
    assert (rows[0]["date"], rows[-1]["date"]) == (first, last)


async def test_moment_is_passed_on_and_named() -> None:
    async with world() as there:
        query = "ids=bitcoin&days=3&format=csv&as_of=2023-11-10T12:00:00Z"
        reply = await get(there, f"/export/histories?{query}")
        request = there.market.script.requested(mk.StreamHistoryRequest)
    assert request.known_at.ToJsonString() == "2023-11-10T12:00:00Z"
    assert read(reply, "csv")[1]["as_of"] == "2023-11-10T12:00:00Z"


@pytest.mark.parametrize("ids", ["nocoin", "nocoin, other"])
async def test_nothing_to_export_is_a_problem_and_no_file(ids: str) -> None:
    async with world() as there:
        reply = await get(there, f"/export/histories?ids={ids}")
    assert reply.status_code == 404
    assert reply.json()["field"] == "ids"


@pytest.mark.parametrize("wanted", ["csv", "arrow", "parquet"])
async def test_ledger_has_a_row_for_each_forecast_and_horizon(wanted: str) -> None:
    async with world() as there:
        reply = await get(there, f"/export/ledger?ids=bitcoin&horizon=7&from=2023-01-01&format={wanted}")
        request = there.training.script.requested(tr.StreamForecastLogRequest)
    rows, known = read(reply, wanted)
    assert (request.horizon_days, request.from_date, request.limit) == (7, "2023-01-01", 0)
    assert [row["forecast_id"] for row in rows] == ["f0", "f1", "f2"]
    assert [float(row["outcome"]) for row in rows] == [36_500.0] * 3
    assert known["table"] == "forecast-log"


@pytest.mark.parametrize("wanted", ["csv", "arrow", "parquet"])
async def test_span_without_a_candle_is_a_table_without_rows(wanted: str) -> None:
    query = f"ids=bitcoin&from=2010-01-01&to=2010-01-01&format={wanted}"
    async with world() as there:
        reply = await get(there, f"/export/histories?{query}")
    assert reply.status_code == 200
    rows, known = read(reply, wanted)
    assert rows == []
    assert known["table"] == "histories"
    assert known["source"]


async def test_empty_ledger_is_a_table_without_rows() -> None:
    async with world() as there:
        there.training.logged = []
        reply = await get(there, "/export/ledger?format=parquet")
    rows, _ = read(reply, "parquet")
    assert rows == []


@pytest.mark.parametrize(
    "path",
    [
        "/coins/bitcoin/history?days=5",
        "/forecasts?ids=bitcoin&days=2",
        "/forecasts/ledger?ids=bitcoin",
        "/forecasts/scenarios?ids=bitcoin,ethereum&days=3&paths=20",
        "/forecasts/touch?ids=bitcoin&level=40000",
        "/forecasts/accuracy",
        "/markets?ids=bitcoin",
        "/prices?ids=bitcoin",
        "/coins",
        "/models",
        "/models/audit",
        "/forecasts/models",
        "/training/jobs",
    ],
)
@pytest.mark.parametrize("by", ["accept", "format"])
async def test_tables_of_other_routes_come_in_every_format(path: str, by: str) -> None:
    async with world() as there:
        text = (await get(there, path, accept="text/csv")).text
        replies = {}
        for wanted, media in (("arrow", ARROW), ("parquet", PARQUET)):
            if by == "accept":
                replies[wanted] = await get(there, path, accept=media)
            else:
                mark = "&" if "?" in path else "?"
                replies[wanted] = await get(there, f"{path}{mark}format={wanted}")
            assert replies[wanted].headers["content-type"] == media
    expected = list(csv.DictReader(io.StringIO(table_of(text))))
    for wanted, reply in replies.items():
        rows, known = read(reply, wanted)
        assert [list(row) for row in rows] == [list(row) for row in expected]
        assert known["version"].startswith("coincast ")
        assert known["licence"]
        assert RFC_3339.fullmatch(known["as_of"]), known["as_of"]


async def test_every_table_can_be_requested_by_format() -> None:
    async with world() as there:
        paths = (await get(there, "/openapi.json")).json()["paths"]
    tables = [
        (path, of_path["get"])
        for path, of_path in paths.items()
        if "text/csv" in of_path.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
    ]
    assert len(tables) > 10
    for path, operation in tables:
        assert "format" in {each["name"] for each in operation.get("parameters", ())}, path


@pytest.mark.parametrize("wanted", ["csv", "arrow", "parquet"])
@pytest.mark.parametrize(
    ("path", "columns"),
    [
        ("/forecasts/ledger", {"id", "model", "horizon_days", "outcome", "lower_80", "upper_95"}),
        ("/training/jobs", {"job_id", "state"}),
        ("/coins/bitcoin/history?from=2023-11-03&to=2023-11-01", {"date", "close", "volume"}),
        ("/coins/bitcoin/history?from=2023-11-03&to=2023-11-01&interval=1h", {"time", "close"}),
    ],
)
async def test_table_without_rows_has_its_columns(path: str, columns: set[str], wanted: str) -> None:
    async with world() as there:
        there.training.logged = []
        reply = await get(there, f"{path}{'&' if '?' in path else '?'}format={wanted}")
    assert reply.status_code == 200
    if wanted == "csv":
        names = set(next(csv.reader([table_of(reply.text)])))
    elif wanted == "parquet":
        names = set(pq.read_schema(io.BytesIO(reply.content)).names)
    else:
        names = set(pa.ipc.open_stream(reply.content).schema.names)
    assert columns <= names


@pytest.mark.parametrize("wanted", ["csv", "arrow", "parquet"])
async def test_log_without_forecasts_is_a_table_without_rows(wanted: str) -> None:
    async with world() as there:
        there.training.logged = []
        rows, known = read(await get(there, f"/export/ledger?format={wanted}"), wanted)
    assert rows == []
    assert known["table"] == "forecast-log"


async def test_accuracy_as_a_table_has_its_figures() -> None:
    async with world() as there:
        rows, known = read(await get(there, "/forecasts/accuracy?format=parquet"), "parquet")
    live, by_hour, risk = rows
    assert [row["table"] for row in rows] == ["live", "by_origin_hour", "risk"]
    assert (live["horizon_days"], live["forecasts"]) == (7, 12)
    assert (by_hour["horizon_hours"], by_hour["coverage_80_percent"], by_hour["origin_hour"]) == (6, 77.5, 13)
    assert (risk["kind"], risk["statements"], risk["observed_percent"]) == ("touch", 1204, 79.0)
    assert known["as_of"]
    assert known["source"]


async def test_ledger_as_a_table_has_its_intervals() -> None:
    interval = fc.Interval(level_percent=80, lower=1.0, upper=2.0)
    async with world() as there:
        there.training.logged = [tr.LoggedForecast(id="bitcoin", horizon_days=7, intervals=[interval])]
        (row,), _ = read(await get(there, "/forecasts/ledger?format=parquet"), "parquet")
    assert (row["lower_80"], row["upper_80"]) == (1.0, 2.0)


async def test_format_that_there_is_not_is_refused_by_name() -> None:
    async with world() as there:
        for path in ("/export/histories?ids=bitcoin&format=json", "/coins/bitcoin/history?format=xml"):
            reply = await get(there, path)
            assert (reply.status_code, reply.json()["field"]) == (422, "format")


async def test_too_many_exports_at_once_are_refused_with_a_time() -> None:
    slots = ExportSlots(most=1)
    with slots.take():
        with pytest.raises(ProblemException) as caught, slots.take():
            pass
        assert caught.value.problem.kind.status == 503
        assert caught.value.problem.retry_after_seconds
    with slots.take():
        assert slots.running == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("/forecasts/accuracy", "coincast"),
        ("/forecasts/ledger?ids=bitcoin", ""),
        ("/forecasts/scenarios?ids=bitcoin,ethereum&days=3&paths=20", ""),
        ("/forecasts/touch?ids=bitcoin&level=40000", ""),
    ],
)
async def test_records_and_risk_as_csv_have_the_metadata_of_the_other_tables(path: str, source: str) -> None:
    mark = "&" if "?" in path else "?"
    async with world() as there:
        rows, known = read(await get(there, f"{path}{mark}format=csv"), "csv")
        _, expected = read(await get(there, f"{path}{mark}format=parquet"), "parquet")
    assert rows
    assert set(known) >= {"source", "as_of", "version", "licence"}
    assert (known["version"], known["source"]) == (expected["version"], expected["source"])
    assert known["source"] == source or not source
    assert RFC_3339.fullmatch(known["as_of"])


async def test_a_coin_that_cannot_be_had_is_named_at_the_end_of_a_described_csv() -> None:
    async with world() as there:
        reply = await get(there, "/forecasts/touch?ids=bitcoin,nocoin&level=5%25&format=csv")
    head, *lines = reply.text.splitlines()
    assert "nocoin" not in head
    assert [line for line in lines if "nocoin" in line] == [
        line for line in lines if line.startswith("# error: ")
    ]
    assert lines[-1].startswith("# error: nocoin: ")
