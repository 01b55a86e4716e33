"""Rows of the archive's own files are checked when they are read: half-written, poisonous, out of order."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pyarrow as pa
import pytest

from coincast_market_data.archive.store import FIRST_DAY, LAST_DAY, SCHEMA
from coincast_market_data.archive.stored_rows import valid_rows

NAN, INF = float("nan"), float("inf")
DAYS = [date(2024, 1, 1) + timedelta(days=n) for n in range(3)]


def table_of(**columns: list[Any]) -> pa.Table:
    count = len(next(iter(columns.values()), DAYS))
    plain: dict[str, list[Any]] = {
        name: [1.0] * count for name in ("open", "high", "low", "close", "volume", "market_cap")
    }
    whole = {"date": DAYS[:count], **plain, "received_at": [None] * count, **columns}
    return pa.table(whole, schema=SCHEMA)


def valid(table: pa.Table) -> tuple[pa.Table, int]:
    return valid_rows(table, "date", least=FIRST_DAY, most=LAST_DAY)


def test_valid_rows_are_returned_as_they_are() -> None:
    bare = {name: [None] * 3 for name in ("open", "high", "low", "volume", "market_cap")}
    for table in (table_of(), table_of(**bare), table_of(close=[]), table_of(volume=[0.0] * 3)):
        rows, faults = valid(table)
        assert rows is table
        assert faults == 0


@pytest.mark.parametrize(
    ("columns", "left", "faults"),
    [
        ({"close": [1.0, NAN, 1.0]}, [0, 2], 1),
        ({"close": [1.0, INF, 1.0]}, [0, 2], 1),
        ({"close": [1.0, -1.0, 1.0]}, [0, 2], 1),
        ({"close": [0.0, None, 1.0]}, [2], 2),
        ({"date": [DAYS[0], None, DAYS[2]]}, [0, 2], 1),
        ({"date": [None, None, None]}, [], 3),
        ({"date": [date(1, 1, 1), date(1969, 12, 31), DAYS[2]]}, [2], 2),
        ({"date": [DAYS[0], DAYS[1], date(9999, 12, 31)]}, [0, 1], 1),
        ({"date": [DAYS[0], DAYS[0], DAYS[0]]}, [0], 2),
        ({"date": [DAYS[2], DAYS[0], DAYS[1]]}, [0, 1, 2], 1),
    ],
)
def test_rows_that_cannot_be_candles_are_dropped(
    columns: dict[str, list[Any]], left: list[int], faults: int
) -> None:
    rows, found = valid(table_of(**columns))
    assert rows.column("date").to_pylist() == [DAYS[n] for n in left]
    assert found == faults


@pytest.mark.parametrize(
    ("columns", "removed"),
    [
        ({"open": [NAN, 1.0, 1.0]}, ["open"]),
        ({"high": [-INF, 1.0, 1.0]}, ["high"]),
        ({"low": [-2.0, 1.0, 1.0]}, ["low"]),
        ({"volume": [-1.0, 1.0, 1.0]}, ["volume"]),
        ({"market_cap": [INF, 1.0, 1.0]}, ["market_cap"]),
        ({"received_at": [-5, None, None]}, []),
        ({"received_at": [2**62, None, None]}, []),
        ({"high": [0.5, 1.0, 1.0]}, ["open", "high", "low"]),
        ({"low": [2.0, 1.0, 1.0]}, ["open", "high", "low"]),
        ({"open": [3.0, 1.0, 1.0]}, ["open"]),
    ],
)
def test_a_figure_that_is_not_valid_is_removed_from_its_row(
    columns: dict[str, list[Any]], removed: list[str]
) -> None:
    rows, faults = valid(table_of(**columns))
    first = rows.to_pylist()[0]
    assert faults == 1
    assert first["close"] == 1.0
    assert sorted(name for name, value in first.items() if value is None) == sorted([*removed, "received_at"])
    assert rows.slice(1).to_pylist() == table_of().slice(1).to_pylist()


def test_keys_off_the_grid_are_dropped() -> None:
    ones = {name: [1.0] * 5 for name in ("open", "high", "low", "close", "volume")}
    arrivals = pa.array([None] * 5, pa.int64())
    table = pa.table({"start": [0, 3600, 3601, -3600, 7200], **ones, "received_at": arrivals})
    rows, faults = valid_rows(table, "start", least=0, most=10**10, step=3600)
    assert rows.column("start").to_pylist() == [0, 3600, 7200]
    assert faults == 2
