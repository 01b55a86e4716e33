"""The client against a transport that answers by itself: replies, problems, and what is not the gateway."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner

from coincast_client import AsyncCoincast, Coincast, Refused, UnexpectedReply, Unreachable, calls
from coincast_client.cli import app
from tests.unit.client import fake_gateway as gw
from tests.unit.client.fake_gateway import Answer, FakeGateway

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


def test_both_clients_have_the_same_methods_with_the_same_parameters_and_defaults() -> None:
    def signatures(kind: type) -> dict[str, list[inspect.Parameter]]:
        members = inspect.getmembers(kind, inspect.isfunction)
        return {
            name: list(inspect.signature(f).parameters.values())
            for name, f in members
            if not name.startswith("_")
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


# Each method as it is called, and the request that it sends.
SENT: dict[str, tuple[Callable[[Any], Any], str, str, dict[str, str], Any]] = {
    "prices": (
        lambda c: c.prices("bitcoin"), "GET", "/prices", {"ids": "bitcoin", "vs_currencies": "usd"}, None
    ),
    "markets": (
        lambda c: c.markets(page=2),
        "GET",
        "/markets",
        {"vs_currency": "usd", "page": "2", "per_page": "100"},
        None,
    ),
    "coins": (
        lambda c: c.coins("bit", page_token="t"),
        "GET",
        "/coins",
        {"query": "bit", "limit": "20", "page_token": "t"},
        None,
    ),
    "history": (
        lambda c: c.history("bitcoin", from_=date(2026, 1, 1), to=datetime(2026, 1, 2, 3, tzinfo=UTC)),
        "GET",
        "/coins/bitcoin/history",
        {"vs_currency": "usd", "from": "2026-01-01", "to": "2026-01-02T03:00:00+00:00"},
        None,
    ),
    "history at a time without a zone": (
        lambda c: c.history("bitcoin", as_of=datetime(2026, 1, 2, 3)),  # noqa: DTZ001 - taken as UTC
        "GET",
        "/coins/bitcoin/history",
        {"vs_currency": "usd", "days": "30", "as_of": "2026-01-02T03:00:00Z"},
        None,
    ),
    "quality": (
        lambda c: c.quality("bitcoin"), "GET", "/coins/bitcoin/quality", {"vs_currency": "usd"}, None
    ),
    "ohlc": (
        lambda c: c.ohlc("bitcoin"), "GET", "/coins/bitcoin/ohlc", {"days": "7", "vs_currency": "usd"}, None
    ),
    "forecasts": (
        lambda c: c.forecasts(["a", "b"], levels=[50, 99.5], quantiles=[0.25], as_of=date(2026, 1, 1)),
        "GET",
        "/forecasts",
        {
            "ids": "a,b", "days": "7", "model": "auto", "vs_currency": "usd", "levels": "50,99.5",
            "quantiles": "0.25", "as_of": "2026-01-01",
        },
        None,
    ),
    "touch": (
        lambda c: c.touch("a", ["5%", 30_000], as_of="2026-01-01"),
        "GET",
        "/forecasts/touch",
        {
            "ids": "a", "level": "5%,30000", "days": "7", "model": "auto", "vs_currency": "usd",
            "as_of": "2026-01-01",
        },
        None,
    ),
    "portfolio": (
        lambda c: c.portfolio({"bitcoin": 6000.0}, levels=[95]),
        "POST",
        "/risk/portfolio",
        {},
        {
            "holdings": [{"id": "bitcoin", "value": 6000.0}], "days": 7, "levels": [95], "model": "auto",
            "vs_currency": "usd",
        },
    ),
    "scenarios": (
        lambda c: c.scenarios("a", paths=4),
        "GET",
        "/forecasts/scenarios",
        {"ids": "a", "days": "7", "paths": "4", "model": "auto", "vs_currency": "usd"},
        None,
    ),
    "ledger": (
        lambda c: c.ledger(from_="2026-01-01", hours=6),
        "GET",
        "/forecasts/ledger",
        {"from": "2026-01-01", "hours": "6", "limit": "1000"},
        None,
    ),
    "explain": (
        lambda c: c.explain("a"),
        "GET",
        "/forecasts/explain",
        {"ids": "a", "days": "1", "model": "lightgbm", "features": "5", "vs_currency": "usd"},
        None,
    ),
    "models": (lambda c: c.models(), "GET", "/forecasts/models", {}, None),
    "accuracy": (
        lambda c: c.accuracy(coin_id="a"), "GET", "/forecasts/accuracy", {"ids": "a", "days": "30"}, None
    ),
    "versions": (lambda c: c.versions("lstm"), "GET", "/models", {"model": "lstm"}, None),
    "compare": (
        lambda c: c.compare("lstm", "v1", "v2"), "GET", "/models/lstm/compare", {"a": "v1", "b": "v2"}, None
    ),
    "audit": (lambda c: c.audit(), "GET", "/models/audit", {"limit": "50"}, None),
    "promote": (
        lambda c: c.promote("lstm", "v2", alias="challenger", share=0.1, expected_revision=4),
        "POST",
        "/models/lstm/promote",
        {},
        {
            "version": "v2", "alias": "challenger", "share": 0.1, "force": False, "reason": "",
            "expected_revision": 4,
        },
    ),
    "rollback": (
        lambda c: c.rollback("lstm", reason="bad"),
        "POST",
        "/models/lstm/rollback",
        {},
        {"reason": "bad", "expected_revision": None},
    ),
    "retire": (
        lambda c: c.retire("lstm", "v1", reason="old"),
        "POST",
        "/models/lstm/retire",
        {},
        {"version": "v1", "reason": "old"},
    ),
    "clean": (lambda c: c.clean("lstm", keep=2), "POST", "/models/lstm/clean", {}, {"keep": 2}),
    "train": (
        lambda c: c.train("lstm", "a,b", days=90, idempotency_key="k"),
        "POST",
        "/training/jobs",
        {},
        {
            "model": "lstm", "ids": ["a", "b"], "days": 90, "tune_trials": 0, "promote_if_better": False,
            "from_version": "",
        },
    ),
    "jobs": (
        lambda c: c.jobs(model="lstm"), "GET", "/training/jobs", {"model": "lstm", "limit": "20"}, None
    ),
    "job": (lambda c: c.job("j1"), "GET", "/training/jobs/j1", {}, None),
    "job_logs": (lambda c: c.job_logs("j1"), "GET", "/training/jobs/j1/logs", {"tail": "100"}, None),
    "cancel_job": (lambda c: c.cancel_job("j1"), "DELETE", "/training/jobs/j1", {}, None),
    "health": (lambda c: c.health(), "GET", "/health/detailed", {}, None),
    "ready": (lambda c: c.ready(), "GET", "/health/ready", {}, None),
    "component": (lambda c: c.component("redis"), "GET", "/health/components/redis", {}, None),
    "usage": (lambda c: c.usage(), "GET", "/usage", {"days": "35"}, None),
    "trends": (lambda c: c.trends(), "GET", "/health/trends", {"hours": "24"}, None),
    "any path": (
        lambda c: c.get("/api/v3/ping", {"x": "y"}), "GET", "/api/v3/ping", {"x": "y"}, None
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SENT)
def test_both_clients_send_the_request_of_a_method_and_raise_its_problem(name: str) -> None:
    call, method, path, parameters, body = SENT[name]
    gateway = FakeGateway()
    gateway.refuse(path, 503, "Starting.", retry_after_seconds=5)

    async def ask() -> None:
        async with AsyncCoincast("http://gateway", transport=gateway.transport) as coincast:
            await call(coincast)

    with Coincast("http://gateway", transport=gateway.transport) as blocking:
        for send in (lambda: call(blocking), lambda: asyncio.run(ask())):
            with pytest.raises(Refused, match="Starting") as raised:
                send()
            assert (raised.value.status, raised.value.retry_after_seconds) == (503, 5)
            sent = gateway.last
            assert (sent.method, sent.path, sent.parameters, sent.body) == (method, path, parameters, body)
            assert ("content-type" in sent.headers) == (method != "GET")
            assert sent.headers.get("idempotency-key", "") == ("k" if name == "train" else "")
    assert len(gateway.requests) == 2


def test_every_method_that_sends_a_request_is_in_the_table() -> None:
    files = {"export", "export_candles", "prices_stream", "job_events", "get", "close"}
    public = {name for name, _ in inspect.getmembers(Coincast, inspect.isfunction) if name[0] != "_"}
    assert public - files == {name.split()[0] for name in SENT} - {"any"}


def test_any_path_is_returned_unchanged() -> None:
    gateway = FakeGateway()
    gateway.reply("/api/v3/ping", {"later": [1, None]})

    async def ask() -> Any:
        async with AsyncCoincast("http://gateway", transport=gateway.transport) as coincast:
            return await coincast.get("/api/v3/ping")

    with Coincast("http://gateway", transport=gateway.transport) as blocking:
        assert blocking.get("/api/v3/ping") == asyncio.run(ask()) == {"later": [1, None]}


def lose_connection(request: httpx2.Request) -> httpx2.Response:
    raise httpx2.RemoteProtocolError("connection lost")


BROKEN = httpx2.MockTransport(lose_connection)


@pytest.mark.parametrize("method", ["models", "get", "prices_stream", "job_events", "export"])
def test_lost_connection_is_unreachable_for_every_kind_of_call(method: str, tmp_path: Path) -> None:
    arguments: dict[str, tuple[Any, ...]] = {
        "models": (), "export": ("ledger", tmp_path / "ledger.csv"),
    }  # fmt: skip
    given = arguments.get(method, ("x",))

    async def ask() -> None:
        async with AsyncCoincast("http://gateway", transport=BROKEN) as coincast:
            found = getattr(coincast, method)(*given)
            if hasattr(found, "__aiter__"):
                await anext(found)
            await found

    with pytest.raises(Unreachable, match=r"http://gateway does not answer \(connection lost\)"):
        asyncio.run(ask())
    with (
        Coincast("http://gateway", transport=BROKEN) as blocking,
        pytest.raises(Unreachable, match=r"http://gateway does not answer \(connection lost\)"),
    ):
        next(iter(getattr(blocking, method)(*given)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("follow", ["prices_stream", "job_events"])
@pytest.mark.parametrize(
    ("answer", "raised", "said"),
    [
        (Answer(b'{"detail": "No such."}', 404, gw.PROBLEM), Refused, "No such."),
        (Answer(b"<html>", 200, "text/html"), UnexpectedReply, "text/html; is it the gateway"),
        (Answer(b"", 302, ""), UnexpectedReply, "answered 302 with no content"),
        (Answer(b"data: {\n\n", 200, gw.EVENTS), UnexpectedReply, "is not a JSON object"),
        (Answer(b"data: [1]\n\n", 200, gw.EVENTS), UnexpectedReply, "is not a JSON object"),
        (Answer(b'data: {"prices": 1, "job": 1}\n\n', 200, gw.EVENTS), UnexpectedReply, "of another form"),
        (Answer(b"event: problem\ndata:\n\n", 200, gw.EVENTS), Refused, "HTTP 503"),
        (Answer(b": heartbeat\n\ndata: {}\n\n", 200, gw.EVENTS), Unreachable, "ended the stream; ask again"),
    ],
)
def test_stream_that_is_none_says_what_came_in_its_place(
    follow: str, answer: Answer, raised: type[Exception], said: str
) -> None:
    gateway = FakeGateway()
    gateway.answers["/prices/stream"] = gateway.answers["/training/jobs/x/events"] = answer

    async def ask() -> None:
        async with AsyncCoincast("http://gateway", transport=gateway.transport) as coincast:
            async for _ in getattr(coincast, follow)("x"):
                pass

    with pytest.raises(raised, match=said):
        asyncio.run(ask())
    with (
        Coincast("http://gateway", transport=gateway.transport) as blocking,
        pytest.raises(raised, match=said),
    ):
        list(getattr(blocking, follow)("x"))


def test_async_client_follows_a_job_to_its_end() -> None:
    gateway = FakeGateway()
    body = sent_events(("progress", {"job": None}), ("ended", {"job": None}), ("progress", {"job": None}))
    gateway.send("/training/jobs/j1/events", body, "text/event-stream")

    async def follow() -> int:
        async with AsyncCoincast("http://gateway", transport=gateway.transport) as coincast:
            return len([event async for event in coincast.job_events("j1")])

    assert asyncio.run(follow()) == 2
    assert gateway.last.headers["accept"] == "text/event-stream"


@pytest.mark.parametrize("url", ["", "gateway:8000", "ftp://gateway", "http://", "http://[::1", "http://a:b"])
def test_address_that_is_none_is_named_with_one_that_is(url: str) -> None:
    for client in (Coincast, AsyncCoincast):
        with pytest.raises(ValueError, match="is not the address of a gateway; give one such as http://127"):
            client(url)


@pytest.mark.parametrize("key", ["schlüssel", "a\nb", "a\n", "a\tb"])
def test_key_that_no_header_can_hold_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(ValueError, match="API key holds a line break or a character outside ASCII") as raised:
        Coincast("http://gateway", api_key=key)
    assert key not in str(raised.value)


def test_notebook_shows_the_columns_of_all_rows() -> None:
    """A model without a record lacks the columns of one with a record, whichever comes first."""
    gateway = FakeGateway()
    with Coincast("http://gateway", transport=gateway.transport) as coincast:
        measured, bare = gw.model("lightgbm", gw.horizon(7)), gw.model("lstm")
        for rows in ([measured, bare], [bare, measured]):
            gateway.reply("/forecasts/models", {"models": rows})
            page = coincast.models()._repr_html_()
            assert "<th>coverage_80_percent</th>" in page
            assert page.count("<td>lstm</td>") == page.count("<td>79.84</td>") == 1


def test_notebook_says_how_many_rows_it_leaves_out() -> None:
    gateway = FakeGateway()
    gateway.reply("/coins/bitcoin/history", gw.history(closes=[1.0] * 31) | {"missing_dates": []})
    gateway.reply("/prices", gw.prices(*(gw.price(f"coin-{n}") for n in range(53))))
    with Coincast("http://gateway", transport=gateway.transport) as coincast:
        assert "more rows" not in coincast.history("bitcoin")._repr_html_()
        page = coincast.prices("x")._repr_html_()
    assert "<p>3 more rows</p>" in page
    assert page.count("<tr>") == 51
    assert "<td>2026-01-01T00:00:00Z</td>" in page
