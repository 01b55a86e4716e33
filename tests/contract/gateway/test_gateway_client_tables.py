"""Every kind of reply of the client: dates are dates, and it converts to tables for notebooks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from coincast_client import AsyncCoincast, Coincast
from coincast_client.base import Reply
from tests.contract.gateway.fakes import world

Calls = dict[str, Callable[[Any], Any]]
HOLDINGS = {"bitcoin": 6000.0}
CALLS: Calls = {
    "prices": lambda c: c.prices("bitcoin"),
    "prices of a list": lambda c: c.prices(["bitcoin", "ethereum"], vs_currencies=["usd", "eur"]),
    "markets": lambda c: c.markets("bitcoin"),
    "coins": lambda c: c.coins("bit"),
    "history": lambda c: c.history("bitcoin", days=3),
    "hours": lambda c: c.history("bitcoin", days=1, interval="1h"),
    "quality": lambda c: c.quality("bitcoin"),
    "ohlc": lambda c: c.ohlc("bitcoin"),
    "forecasts": lambda c: c.forecasts("bitcoin", days=3, quantiles=[0.25]),
    "forecasts of a list": lambda c: c.forecasts(["bitcoin", "ethereum"], days=3),
    "forecasts of hours": lambda c: c.forecasts("bitcoin", hours=6),
    "touch": lambda c: c.touch("bitcoin", ["5%", 30_000], days=3),
    "touch of a list": lambda c: c.touch(["bitcoin", "ethereum"], "-5%", days=3),
    "portfolio": lambda c: c.portfolio(HOLDINGS, days=3),
    "scenarios": lambda c: c.scenarios("bitcoin", days=3, paths=4),
    "ledger": lambda c: c.ledger("bitcoin"),
    "explain": lambda c: c.explain("bitcoin"),
    "models": lambda c: c.models(),
    "accuracy": lambda c: c.accuracy(),
    "versions": lambda c: c.versions("lightgbm"),
    "compare": lambda c: c.compare("lightgbm", "v000001", "v000001"),
    "audit": lambda c: c.audit(),
    "promote": lambda c: c.promote("lightgbm", "v000001"),
    "rollback": lambda c: c.rollback("lightgbm"),
    "clean": lambda c: c.clean("lightgbm"),
    "train": lambda c: c.train("lightgbm", "bitcoin"),
    "jobs": lambda c: c.jobs(),
    "health": lambda c: c.health(),
    "ready": lambda c: c.ready(),
    "component": lambda c: c.component("gateway"),
    "trends": lambda c: c.trends(hours=1),
}
# Fakes that have nothing to show here; their tables are empty, which must not be an error.
EMPTY = {"audit", "clean", "jobs", "trends", "ledger"}
MOMENT = re.compile(r"\d{4}-\d\d-\d\d(T.*)?")
# A version and a digest are no days, and sentences may quote days.
PICTURES = {"history", "hours", "ohlc", "forecasts", "forecasts of a list", "touch", "scenarios"}


def texts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the path and the text of every string in a reply."""
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from texts(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from texts(each, f"{path}.{key}")
    elif isinstance(value, list):
        for each in value:
            yield from texts(each, f"{path}[]")
    elif isinstance(value, str):
        yield path, value


def check(name: str, reply: Reply) -> None:
    """Check the dates, rows, frames and notebook form of one reply."""
    unparsed = [path for path, text in texts(reply) if MOMENT.fullmatch(text)]
    assert not unparsed, (name, unparsed)
    rows = reply.to_rows()
    if name not in EMPTY:
        assert rows, name
        assert all(row for row in rows), name
        assert any(value is not None for value in rows[0].values()), name
    for row in rows:
        for column, value in row.items():
            assert isinstance(value, str | int | float | date | datetime | None), (name, column)
    columns = {column for row in rows for column in row}
    for frame in (reply.to_pandas(), reply.to_polars()):
        assert len(frame) == len(rows), name
        assert set(frame.columns) == columns, name
    page = reply._repr_html_()
    assert page.count("<tr>") == 1 + min(len(rows), 50), name
    if name in PICTURES:
        assert reply.plot() is not None, name


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_every_kind_of_reply_is_a_table_with_dates(kind: str) -> None:
    import asyncio

    import matplotlib as mpl

    mpl.use("agg")
    async with world() as there:
        if kind == "async":
            async with AsyncCoincast(there.url, timeout_seconds=60) as client:
                for name, call in CALLS.items():
                    check(name, await call(client))
        else:
            with Coincast(there.url, timeout_seconds=60) as blocking:
                for name, call in CALLS.items():
                    check(name, await asyncio.to_thread(call, blocking))
