"""The client against a transport that answers by itself: replies, problems, and what is not the gateway."""

from __future__ import annotations

import asyncio
import inspect
import json
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner

from coincast_client import AsyncCoincast, Coincast, Refused, UnexpectedReply, Unreachable, calls
from coincast_client.cli import app

STANDING = {
    "as_of": "2026-01-01T00:00:00Z", "age_seconds": 1.5, "source": "live", "stale": False, "reason": None,
}  # fmt: skip
PRICE = {
    "id": "bitcoin", "vs_currency": "usd", "price": 10.0, "market_cap": None, "volume_24h": None,
    "change_24h_percent": -1.5, "last_updated_at": "2026-01-01T00:00:00Z", "later_field": 1, **STANDING,
}  # fmt: skip
PRICES = {"prices": [PRICE], "errors": []}


class Recorder:
    """A transport that records requests and answers with one reply."""

    def __init__(self, status: int, body: Any, kind: str = "application/json") -> None:
        self.requests: list[httpx2.Request] = []
        self._status, self._kind = status, kind
        self._content = body if isinstance(body, bytes) else json.dumps(body).encode()

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        return httpx2.Response(self._status, content=self._content, headers={"content-type": self._kind})

    @property
    def last(self) -> httpx2.Request:
        return self.requests[-1]


def client_of(recorder: Recorder) -> Coincast:
    return Coincast("http://gateway", transport=httpx2.MockTransport(recorder))


def test_reply_is_typed_and_unknown_fields_are_ignored() -> None:
    with client_of(Recorder(200, PRICES)) as coincast:
        price = coincast.prices("bitcoin").prices[0]
    assert (price.id, price.price, price.stale) == ("bitcoin", 10.0, False)
    assert not hasattr(price, "later_field")


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("bitcoin", "bitcoin"),
        ("bitcoin,ethereum", "bitcoin,ethereum"),
        (["bitcoin", "ethereum"], "bitcoin,ethereum"),
        ((" bitcoin ",), "bitcoin"),
        (["bitcoin,", "ethereum, tether"], "bitcoin,ethereum,tether"),
    ],
)
def test_ids_are_a_string_or_a_list(given: Any, sent: str) -> None:
    recorder = Recorder(200, PRICES)
    with client_of(recorder) as coincast:
        coincast.prices(given)
    assert recorder.last.url.params["ids"] == sent


@pytest.mark.parametrize("empty", ["", [], [""], [","]])
def test_no_id_is_refused_before_anything_is_sent(empty: Any) -> None:
    recorder = Recorder(200, PRICES)
    with client_of(recorder) as coincast, pytest.raises(ValueError, match="ids is empty"):
        coincast.prices(empty)
    assert recorder.requests == []


def test_problem_is_raised_with_all_that_it_says() -> None:
    problem = {
        "type": "/problems/not-found", "detail": "No such coin.", "suggestions": ["bitcoin"], "field": "ids",
    }  # fmt: skip
    recorder = Recorder(404, problem, "application/problem+json")
    with client_of(recorder) as coincast, pytest.raises(Refused) as raised:
        coincast.prices(["bitcon"])
    assert raised.value.suggestions == ("bitcoin",)
    assert (raised.value.status, raised.value.field) == (404, "ids")


def test_reply_that_is_not_the_gateways_is_named_as_such() -> None:
    recorder = Recorder(200, b"<html>", "text/html")
    with client_of(recorder) as coincast, pytest.raises(UnexpectedReply, match="is it the gateway"):
        coincast.health()


def test_no_answer_is_unreachable() -> None:
    with (
        Coincast("http://127.0.0.1:1", timeout_seconds=2) as coincast,
        pytest.raises(Unreachable, match="does not answer"),
    ):
        coincast.models()


@pytest.mark.parametrize("coin_id", ["", "..", "../x", "a/b", "a?b", "a#b", "a%2fb"])
def test_id_cannot_leave_its_path(coin_id: str) -> None:
    with client_of(Recorder(200, {})) as coincast, pytest.raises(ValueError, match="is not valid"):
        coincast.history(coin_id)


def test_unsafe_method_without_a_body_is_sent_as_json() -> None:
    recorder = Recorder(404, {"detail": "no"}, "application/problem+json")
    with client_of(recorder) as coincast, pytest.raises(Refused):
        coincast.cancel_job("j1")
    assert recorder.last.method == "DELETE"
    assert recorder.last.headers["content-type"] == "application/json"


def test_days_and_hours_exclude_each_other() -> None:
    with client_of(Recorder(200, {})) as coincast, pytest.raises(ValueError, match="not both"):
        coincast.forecasts("bitcoin", days=1, hours=6)


def test_both_clients_have_the_same_methods_with_the_same_parameters() -> None:
    def signatures(kind: type) -> dict[str, list[str]]:
        members = inspect.getmembers(kind, inspect.isfunction)
        return {
            name: list(inspect.signature(f).parameters) for name, f in members if not name.startswith("_")
        }

    sync, asynchronous = signatures(Coincast), signatures(AsyncCoincast)
    assert sync.pop("close") == asynchronous.pop("aclose")
    assert sync == asynchronous


def test_every_call_has_a_method() -> None:
    helpers = {"join_ids", "path_part", "moment_text", "field", "dataclass"}
    built = {
        name
        for name, function in inspect.getmembers(calls, inspect.isfunction)
        if function.__module__ == calls.__name__ and not name.startswith("_")
    } - helpers
    assert built - set(dir(Coincast)) == set()


def test_async_client_reads_the_same_reply() -> None:
    async def ask() -> float:
        transport = httpx2.MockTransport(Recorder(200, PRICES))
        async with AsyncCoincast("http://gateway", transport=transport) as coincast:
            return (await coincast.prices("bitcoin")).prices[0].price

    assert asyncio.run(ask()) == 10.0


def sent_events(*events: tuple[str, dict[str, Any]]) -> bytes:
    lines = "".join(
        f"id: 1\nevent: {name}\ndata: {json.dumps(data)}\n\n: heartbeat\n\n" for name, data in events
    )
    return lines.encode()


def test_stream_yields_events_skips_heartbeats_and_says_when_it_broke_off() -> None:
    lines = sent_events(("prices", {"prices": [PRICE]}), ("prices", {"errors": [], "prices": []}))
    recorder = Recorder(200, lines, "text/event-stream")
    with client_of(recorder) as coincast:
        events = coincast.prices_stream("bitcoin")
        assert next(events).prices[0].price == 10.0
        assert next(events).prices == []
        with pytest.raises(Unreachable, match="ended the stream"):
            next(events)
    assert recorder.last.url.path == "/prices/stream"


JOB_GONE = {"type": "/problems/x", "status": 503, "detail": "training does not answer."}


@pytest.mark.parametrize("follow", ["prices_stream", "job_events"])
def test_problem_that_ends_a_stream_is_raised(follow: str) -> None:
    async def ask(transport: httpx2.MockTransport) -> None:
        async with AsyncCoincast("http://gateway", transport=transport) as coincast:
            async for _ in getattr(coincast, follow)("x"):
                pass

    recorder = Recorder(200, sent_events(("problem", JOB_GONE)), "text/event-stream")
    with client_of(recorder) as coincast, pytest.raises(Refused, match="training does not answer") as raised:
        list(getattr(coincast, follow)("x"))
    assert raised.value.status == 503
    with pytest.raises(Refused, match="training does not answer"):
        asyncio.run(ask(httpx2.MockTransport(recorder)))


def test_events_of_a_job_end_with_the_job() -> None:
    lines = sent_events(("progress", {"job": None}), ("ended", {"job": None}))
    recorder = Recorder(200, lines, "text/event-stream")
    with client_of(recorder) as coincast:
        assert len(list(coincast.job_events("j1"))) == 2
    assert recorder.last.url.path == "/training/jobs/j1/events"


def test_reply_becomes_tables_and_a_notebook_shows_it_without_markup_of_others() -> None:
    hostile = PRICES | {"prices": [PRICE | {"id": "<img src=x>"}]}
    with client_of(Recorder(200, hostile)) as coincast:
        reply = coincast.prices("bitcoin")
    assert reply.to_rows()[0]["price"] == 10.0
    assert reply.to_polars()["price"].to_list() == [10.0]
    assert reply.to_pandas()["change_24h_percent"].tolist() == [-1.5]
    shown = reply._repr_html_()
    assert "&lt;img src=x&gt;" in shown
    assert "<img" not in shown


def test_command_says_in_a_line_what_is_wrong() -> None:
    result = CliRunner().invoke(app, ["prices", "bitcoin", "--url", "http://127.0.0.1:1"])
    assert result.exit_code == 1
    assert "does not answer" in result.stderr
    assert "Traceback" not in result.output


def test_command_prints_its_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.output.startswith("coincast ")
