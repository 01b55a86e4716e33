"""The client against a transport that answers by itself: replies, problems, and what is not the gateway."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner

from coincast_client import Coincast, Refused, UnexpectedReply, Unreachable
from coincast_client.cli import app

POINT = {
    "date": "2026-01-02", "horizon_days": 1, "price": 10.0,
    "probability_of_rise": 0.5, "later_field": 1,
    "intervals": {"95": {"lower": 8.0, "upper": 12.0}, "80": {"lower": 9.0, "upper": 11.0}},
}  # fmt: skip
FORECAST = {
    "id": "bitcoin", "vs_currency": "usd", "as_of": "2026-01-01T00:00:00Z", "last_price": 10.0,
    "model": "auto",
    "version": "v1", "served_by": "lightgbm", "degraded": True, "reason": "Old.", "source": "sandbox",
    "points": [POINT],
}  # fmt: skip


def client(status: int, body: Any, kind: str = "application/json") -> Coincast:
    def answer(request: httpx2.Request) -> httpx2.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return httpx2.Response(status, content=content, headers={"content-type": kind})

    return Coincast("http://gateway", transport=httpx2.MockTransport(answer))


def test_a_forecast_is_typed_and_unknown_fields_are_passed_by() -> None:
    with client(200, {"forecasts": [FORECAST], "errors": []}) as coincast:
        forecast = coincast.forecasts(["bitcoin"]).forecasts[0]
    assert forecast.reason == "Old."
    assert [interval.level_percent for interval in forecast.points[0].intervals] == [80, 95]


def test_a_problem_is_raised_with_all_it_says() -> None:
    problem = {
        "type": "/problems/not-found",
        "detail": "No such coin.",
        "suggestions": ["bitcoin"],
        "field": "ids",
    }
    with client(404, problem, "application/problem+json") as coincast, pytest.raises(Refused) as raised:
        coincast.prices(["bitcon"])
    assert raised.value.suggestions == ("bitcoin",)
    assert (raised.value.status, raised.value.field) == (404, "ids")


def test_what_is_not_the_gateway_is_said_to_be_so() -> None:
    with (
        client(200, b"<html>", "text/html") as coincast,
        pytest.raises(UnexpectedReply, match="is it the gateway"),
    ):
        coincast.health()


def test_no_answer_is_unreachable() -> None:
    with (
        Coincast("http://127.0.0.1:1", timeout_seconds=2) as coincast,
        pytest.raises(Unreachable, match="does not answer"),
    ):
        coincast.models()


@pytest.mark.parametrize("coin_id", ["", "../x", "a/b", "a?b", "a#b"])
def test_an_id_cannot_leave_its_path(coin_id: str) -> None:
    with client(200, {}) as coincast, pytest.raises(ValueError, match="not a coin id"):
        coincast.history(coin_id)


def test_the_command_says_in_a_line_what_is_wrong() -> None:
    result = CliRunner().invoke(app, ["prices", "bitcoin", "--url", "http://127.0.0.1:1"])
    assert result.exit_code == 1
    assert "does not answer" in result.stderr
    assert "Traceback" not in result.output
