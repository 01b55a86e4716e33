"""Histories over REST: spans, hourly candles, and what was known at a moment."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from coincast.market.v1 import market_pb2 as mk
from coincast_chassis.errors import InvalidInput
from tests.contract.gateway.fakes import World, client_of, world


async def get(there: World, query: str) -> tuple[int, dict[str, Any]]:
    async with client_of(there) as client:
        reply = await client.get(f"/coins/bitcoin/history?{query}")
        return reply.status_code, reply.json()


def last_request(there: World) -> mk.GetHistoryRequest:
    return there.market.script.requested(mk.GetHistoryRequest)


@pytest.mark.parametrize(
    ("query", "first", "last", "count"),
    [
        ("days=3", "2023-11-11", "2023-11-13", 3),
        # Days count back from the last day.
        ("days=40&to=2023-11-10", "2023-10-02", "2023-11-10", 40),
        ("days=3&to=2023-11-05", "2023-11-03", "2023-11-05", 3),
        ("to=2023-10-31", "2023-10-02", "2023-10-31", 30),
        ("days=2&to=2023-11-05T12:00:00Z", "2023-11-04", "2023-11-05", 2),
        ("from=2023-11-01&to=2023-11-03", "2023-11-01", "2023-11-03", 3),
        ("from=2023-11-12", "2023-11-12", "2023-11-13", 2),
        ("from=2023-11-01T00:00:01Z&to=2023-11-03T00:00:00Z", "2023-11-02", "2023-11-03", 2),
    ],
)
async def test_span_is_cut_inclusively(query: str, first: str, last: str, count: int) -> None:
    async with world() as there:
        status, document = await get(there, query)
    assert status == 200
    dates = [candle["date"] for candle in document["candles"]]
    assert (dates[0], dates[-1], len(dates)) == (first, last, count)


async def test_hourly_candles_are_requested_and_cut_by_the_hour() -> None:
    async with world() as there:
        _, document = await get(there, "interval=1h&from=2023-11-13T05:00:00Z&to=2023-11-13T07:00:00Z")
        request = last_request(there)
    assert request.interval == mk.CANDLE_INTERVAL_ONE_HOUR
    assert [candle["time"][11:13] for candle in document["candles"]] == ["05", "06", "07"]
    assert document["interval"] == "1h"


async def test_as_of_is_passed_on_and_named_in_the_reply() -> None:
    async with world() as there:
        _, document = await get(there, "days=5&as_of=2023-11-10T12:00:00Z")
        request = last_request(there)
    assert request.known_at.ToDatetime(tzinfo=dt.UTC) == dt.datetime(2023, 11, 10, 12, tzinfo=dt.UTC)
    assert document["known_at"] == "2023-11-10T12:00:00Z"


@pytest.mark.parametrize(
    ("as_of", "known_at"),
    [
        ("2023-11-11T12:00:00Z", "2023-11-11T12:00:00Z"),
        ("2023-11-11T12:00:00+02:00", "2023-11-11T10:00:00Z"),
        ("2023-11-11T12:00", "2023-11-11T12:00:00Z"),
        # A day alone: once its candle was known, as `/forecasts?as_of=` counts.
        ("2023-11-10", "2023-11-11T00:35:00Z"),
    ],
)
async def test_as_of_is_a_moment_or_a_day_that_has_closed(as_of: str, known_at: str) -> None:
    async with world() as there:
        _, document = await get(there, f"days=5&as_of={as_of.replace('+', '%2B')}")
    assert document["known_at"] == known_at
    assert document["candles"][-1]["date"] == "2023-11-10"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("from=yesterday", "from"),
        ("from=2023-13-01", "from"),
        ("from=2026-02-30", "from"),
        ("interval=5m", "interval"),
    ],
)
async def test_bad_span_names_its_field(query: str, field: str) -> None:
    async with world() as there:
        status, problem = await get(there, query)
    assert status in {400, 422}
    assert problem["field"] == field


@pytest.mark.parametrize("path", ["/coins/bitcoin/history?days=5", "/export/histories?ids=bitcoin&days=5"])
async def test_what_a_service_refuses_is_named_as_the_request_names_it(path: str) -> None:
    async with (
        world() as there,
        client_of(there) as client,
    ):
        there.market.script.error = InvalidInput("known_at must not lie in the future", field="known_at")
        reply = await client.get(f"{path}&as_of=2199-01-01")
    assert reply.status_code == 400
    assert reply.json()["field"] == "as_of"
    assert reply.json()["detail"] == "as_of must not lie in the future"


@pytest.mark.parametrize(
    ("given", "first"),
    [
        # No candle is older than the first block; the fake has 60 days.
        ("1999-01-01", "2023-09-15"),
        ("2023-10-31", "2023-10-31"),
        ("2023-11-01T02:00:00+02:00", "2023-11-01"),
        ("2023-11-01T00:00:00.5", "2023-11-02"),
        ("2024-02-29", None),
    ],
)
async def test_every_form_of_a_moment_is_taken(given: str, first: str | None) -> None:
    async with world() as there:
        status, document = await get(there, f"from={given.replace('+', '%2B')}")
    assert status == 200
    assert next((candle["date"] for candle in document["candles"]), None) == first


async def test_reversed_span_is_empty_and_says_so() -> None:
    async with world() as there:
        status, document = await get(there, "from=2023-11-03&to=2023-11-01")
    assert (status, document["candles"]) == (200, [])
    assert "to lies before from" in document["quality_notes"][-1]


async def test_hours_after_as_of_are_left_out() -> None:
    async with world() as there:
        _, document = await get(there, "interval=1h&days=2&as_of=2023-11-13T03:00:00Z")
        request = last_request(there)
    assert request.interval == mk.CANDLE_INTERVAL_ONE_HOUR
    assert request.known_at.ToDatetime(tzinfo=dt.UTC) == dt.datetime(2023, 11, 13, 3, tzinfo=dt.UTC)
    assert document["candles"][-1]["time"] == "2023-11-13T02:00:00Z"
    assert document["known_at"] == "2023-11-13T03:00:00Z"
