"""What a rehearsal accepts, and what it reports."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from coincast_stack.rehearsal.proxy import Call
from coincast_stack.rehearsal.record import (
    Milestone,
    RehearsalRecord,
    fault_of,
    priced_coins,
    trained_forecast,
)
from coincast_stack.rehearsal.time_line import TimeLine

RETRY = {"retry-after": "3"}


def errors(kind: str, retry: float | None) -> bytes:
    error = {"id": "bitcoin", "kind": kind, "message": "why", "retry_after_seconds": retry}
    return json.dumps({"forecasts": [], "errors": [error]}).encode()


@pytest.mark.parametrize(
    ("status", "headers", "body", "fault"),
    [
        (200, {}, b"{}", ""),
        (503, RETRY, b"{}", ""),
        (429, RETRY, b"{}", ""),
        (503, {}, b"{}", "/p: 503 without Retry-After"),
        (429, {}, b"{}", "/p: 429 without Retry-After"),
        (500, RETRY, b'{"detail": "Internal error"}', "/p: 500 Internal error"),
        (504, RETRY, b'{"detail": "late", "request_id": "1"}', "/p: 504 late"),
        (502, {}, b"<html>", "/p: 502 <html>"),
        (404, {}, b'{"detail": "no such coin"}', "/p: 404 no such coin"),
        (200, {}, errors("exhausted", 2.0), ""),
        (200, {}, errors("exhausted", None), "/p: bitcoin: exhausted: why"),
        (200, {}, errors("internal", 2.0), "/p: bitcoin: internal: why"),
        (200, {}, errors("not_found", None), "/p: bitcoin: not_found: why"),
    ],
)
def test_fault_of(status: int, headers: dict[str, str], body: bytes, fault: str) -> None:
    assert fault_of("/p", status, headers, body) == fault


def test_priced_coins() -> None:
    rows = [{"id": "bitcoin", "price": 1.0}, {"id": "ethereum", "price": None}]
    assert priced_coins(json.dumps({"prices": rows}).encode()) == {"bitcoin"}
    assert priced_coins(b"<html>") == set()


@pytest.mark.parametrize(
    ("served_by", "points", "counts"),
    [("lightgbm", [1], True), ("last_price", [1], False), ("technical", [1], False), ("lightgbm", [], False)],
)
def test_trained_forecast(served_by: str, points: list[Any], counts: bool) -> None:
    body = json.dumps({"forecasts": [{"served_by": served_by, "points": points}]}).encode()
    assert (trained_forecast(body) is not None) is counts


def good_record() -> RehearsalRecord:
    record = RehearsalRecord("keyless", 2, ("bitcoin",), prices=Milestone(9.9, 1))
    record.forecasts["bitcoin"] = Milestone(19.9, 2)
    record.calls += [Call(0.0, "/a", 200), Call(1.0, "/b", 200), Call(61.0, "/c", 200)]
    return record


def test_a_record_that_holds() -> None:
    record = good_record()
    assert record.complete
    assert record.failures() == []
    out = io.StringIO()
    assert TimeLine(Console(file=out, width=110)).summarize(record) == 0
    assert "3 calls, 2 in the busiest minute of 2 allowed, 0 refused" in out.getvalue()


def add_call(record: RehearsalRecord) -> None:
    record.calls.append(Call(2.0, "/d", 200))


def refuse_call(record: RehearsalRecord) -> None:
    record.calls[0] = Call(0.0, "/a", 429)


def slow_prices(record: RehearsalRecord) -> None:
    record.prices = Milestone(10.1, 1)


def no_prices(record: RehearsalRecord) -> None:
    record.prices = None


def slow_forecast(record: RehearsalRecord) -> None:
    record.forecasts["bitcoin"] = Milestone(20.1, 2)


def no_forecast(record: RehearsalRecord) -> None:
    record.forecasts.clear()


def fault(record: RehearsalRecord) -> None:
    record.faults["/p: 500"] = None


@pytest.mark.parametrize(
    ("corrupt", "says"),
    [
        (add_call, "3 calls in a minute; the plan allows 2"),
        (refuse_call, "refused 1 calls with 429"),
        (slow_prices, "prices of every coin took 10.1 s; the limit is 10 s"),
        (no_prices, "no reply with prices"),
        (slow_forecast, "a first forecast by a trained model took 20.1 s; the limit is 20 s"),
        (no_forecast, "No forecast by a trained model of bitcoin"),
        (fault, "A reply that is not allowed: /p: 500"),
    ],
)
def test_what_does_not_hold_is_reported(corrupt: Any, says: str) -> None:
    record = good_record()
    corrupt(record)
    assert any(says in failure for failure in record.failures())
    out = io.StringIO()
    assert TimeLine(Console(file=out, width=110)).summarize(record) == 1
    assert "FAILED" in out.getvalue()


def test_the_allowance_stretches_the_seconds_alone() -> None:
    record = good_record()
    slow_prices(record)
    add_call(record)
    assert record.failures(2.0) == ["3 calls in a minute; the plan allows 2."]
