"""Stray and damaged entries in the ledger's folders are passed by, named once, and never removed."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from coincast_chassis.clock import ManualClock
from coincast_training.scoring.consumer import LedgerConsumer
from coincast_training.scoring.parquet import DEFAULTS, FORECAST_SCHEMA, SCORED_SCHEMA, write_rows
from coincast_training.scoring.store import LedgerStore, LogQuery
from tests.unit.training.training_fakes import FakeHistory, candles_of
from tests.unit.training.training_ledger_rows import entry_of, forecast_of, incoming, ledger_in

CANDLES = candles_of("bitcoin", 60)


def a_folder(path: Path) -> None:
    path.mkdir(parents=True)


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_link(path: Path) -> None:
    path.symlink_to(path.parent.parent / "elsewhere")


def garbage(path: Path) -> None:
    path.write_bytes(b"PAR1 no table PAR1")


def an_empty_file(path: Path) -> None:
    path.write_bytes(b"")


def another_table(path: Path) -> None:
    pq.write_table(pa.table({"x": [1, 2]}), path)


def half_a_table(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([forecast_of(CANDLES, 40)], schema=FORECAST_SCHEMA), path)
    path.write_bytes(path.read_bytes()[:-20])


Stray = Callable[[Path], None]
STRAYS = [a_folder, a_link, garbage, an_empty_file, another_table, half_a_table]


@pytest.mark.parametrize("stray", STRAYS)
def test_an_entry_that_is_no_batch_stops_nothing(tmp_path: Path, stray: Stray) -> None:
    incoming(tmp_path, [forecast_of(CANDLES, 50)])
    entry = tmp_path / "incoming" / "0-stray.parquet"
    stray(entry)
    store = LedgerStore(tmp_path)
    with capture_logs() as logs:
        found = store.open_forecasts()
        again = store.open_forecasts()
    assert len(found.rows) == len(again.rows) == 1
    assert [log["name"] for log in logs if log["event"] == "ledger_entry_skipped"] == [entry.name]
    assert str(tmp_path) not in str(logs)
    store.close_cycle([], found.rows, found.batches)
    assert entry.is_symlink() or entry.exists()
    assert store.counts() == (1, 0)


@pytest.mark.parametrize("name", ["not-a-day", "2024-13-45", "2024-1-2", "a-b-c"])
def test_a_folder_that_is_no_day_stops_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / "scored" / name).mkdir(parents=True)
    (tmp_path / "scored" / "2024-01-05").write_text("a file, no folder")
    incoming(tmp_path, [forecast_of(CANDLES, 50)])
    store = LedgerStore(tmp_path)
    assert store.newest_scored() is None
    assert store.scored_since(dt.date(2020, 1, 1)).num_rows == 0
    assert len([row for chunk in store.forecast_log(LogQuery()) for row in chunk]) == 1


def test_a_file_of_an_older_release_lacks_a_column_and_is_read(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([forecast_of(CANDLES, 50)], schema=FORECAST_SCHEMA).drop_columns(["variant"])
    (tmp_path / "incoming").mkdir()
    pq.write_table(table, tmp_path / "incoming" / "1.parquet")
    (row,) = LedgerStore(tmp_path).open_forecasts().rows
    assert row["variant"] is None


def test_a_file_of_a_release_without_hours_holds_daily_forecasts(tmp_path: Path) -> None:
    old = pa.schema([field for field in FORECAST_SCHEMA if field.name not in DEFAULTS])
    rows = [{name: forecast_of(CANDLES, 50)[name] for name in old.names}]
    for folder in ("incoming", "."):
        (tmp_path / folder).mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=old), tmp_path / "incoming" / "1.parquet")
    pq.write_table(pa.Table.from_pylist(rows, schema=old), tmp_path / "waiting.parquet")
    store = LedgerStore(tmp_path)
    (row,) = store.open_forecasts().rows
    assert (row["horizon_days"], row["horizon_hours"], row["as_of_hours"]) == (1, 0, 0)
    assert len([row for chunk in store.forecast_log(LogQuery(horizon_days=1)) for row in chunk]) == 1


def test_horizons_in_days_and_in_hours_of_one_forecast_are_separate(tmp_path: Path) -> None:
    daily = forecast_of(CANDLES, 50)
    hourly = [forecast_of(CANDLES, 50, 0, horizon_hours=hours, as_of_hours=13) for hours in (1, 2)]
    incoming(tmp_path, [daily, *hourly, *hourly])
    store = LedgerStore(tmp_path)
    assert len(store.open_forecasts().rows) == 3
    for query, count in ((LogQuery(horizon_hours=2), 1), (LogQuery(horizon_days=1), 1), (LogQuery(), 3)):
        assert len([row for chunk in store.forecast_log(query) for row in chunk]) == count, query


@pytest.mark.timeout(30)
@pytest.mark.parametrize("stray", [*STRAYS, a_pipe])
def test_an_unreadable_waiting_list_is_set_aside_and_stops_nothing(tmp_path: Path, stray: Stray) -> None:
    incoming(tmp_path, [forecast_of(CANDLES, 50)])
    stray(tmp_path / "waiting.parquet")
    for _ in range(2):
        store = LedgerStore(tmp_path)
        with capture_logs() as logs:
            found = store.open_forecasts()
        assert len(found.rows) == 1
        store.close_cycle([], found.rows, [])
        assert str(tmp_path) not in str(logs)
    store.close_cycle([], found.rows, found.batches)
    assert len(store.open_forecasts().rows) == 1
    # A link to nothing is no waiting list, and is replaced by the first one.
    assert (tmp_path / "waiting.unreadable").exists() or stray is a_link


WRONG: list[dict[str, object]] = [
    {"forecast_id": None}, {"coin_id": None}, {"vs_currency": None}, {"model": None}, {"made_at": None},
    {"as_of": None}, {"as_of": "yesterday"}, {"as_of": "2025-02-30"}, {"as_of": "0001-01-01"},
    {"due": None}, {"due": ""}, {"due": "9999-12-31"}, {"due": "2025-13-01"}, {"due": "../../x"},
    {"horizon_days": None}, {"horizon_days": -3}, {"horizon_days": 2**31 - 1}, {"as_of_hours": -1},
    {"horizon_hours": 2**30}, {"last_price": None}, {"last_price": float("nan")}, {"last_price": 0.0},
    {"last_price": float("inf")}, {"probabilities": None}, {"probabilities": []}, {"price_quantiles": [1.0]},
    {"price_quantiles": None, "probabilities": None}, {"shadow": None},
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG, ids=str)
async def test_a_row_that_is_no_forecast_stops_no_scoring(tmp_path: Path, wrong: dict[str, object]) -> None:
    good = forecast_of(CANDLES, 50)
    rows = [good, forecast_of(CANDLES, 51, forecast_id="bad") | wrong]
    incoming(tmp_path, rows)
    (tmp_path / "scored" / "2024-01-05").mkdir(parents=True)
    score = {name: 1.0 for name in SCORED_SCHEMA.names if name not in FORECAST_SCHEMA.names}
    score |= {"inside_80": True, "inside_95": True}
    write_rows(tmp_path / "scored/2024-01-05/a.parquet", [row | score for row in rows], SCORED_SCHEMA)
    ledger = ledger_in(tmp_path, FakeHistory({"bitcoin": CANDLES}), ManualClock(1.9e9))
    with capture_logs() as logs:
        await ledger.cycle()
    assert [line for line in logs if line["log_level"] == "error"] == []
    assert (tmp_path / "live-record.json").exists()
    assert len([row for chunk in ledger.store.forecast_log(LogQuery()) for row in chunk]) == 1
    assert not list((tmp_path / "incoming").glob("*.parquet"))


@pytest.mark.parametrize("field", ["coin_id", "model", "as_of", "horizon_days", "probabilities", "made_at"])
@pytest.mark.parametrize("value", [None, 7.5, "", [], {}, "x" * 9, True, -1, 10**18])
def test_a_poisonous_message_is_refused_alone(tmp_path: Path, field: str, value: object) -> None:
    good = json.loads(entry_of(CANDLES, 50).to_json())
    lines = [
        json.dumps(good | {field: value}),
        "[" * 100_000,
        "null",
        '"x"',
        "{}",
        "\ud800",
        json.dumps(good),
    ]
    messages = [(f"{n}-0", {b"entry": line.encode(errors="replace")}) for n, line in enumerate(lines)]
    LedgerConsumer(cast(Redis, None), tmp_path, consumer="c").write(messages)
    ids = [row["forecast_id"] for row in LedgerStore(tmp_path).open_forecasts().rows]
    assert ids in ([good["forecast_id"]], [])
    assert ids, "the good message is stored"
