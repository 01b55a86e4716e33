"""The client and its guards, against a fake network: keys, identity, size, time, clock, retries,
priorities.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
import time
import zlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import httpx2
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from coincast_chassis.clock import ManualClock
from coincast_chassis.errors import CoincastError, Exhausted, NotFound, Unavailable
from coincast_market_data.coingecko.client import HttpUpstream, UpstreamClock, open_http
from coincast_market_data.coingecko.error_mapping import (
    BadData,
    Cause,
    UpstreamAvailability,
    UpstreamFailure,
)
from coincast_market_data.coingecko.resilient_client import Breakers, ResilientUpstream, RetryBudget
from coincast_market_data.infrastructure import active_plan
from coincast_market_data.ports import Priority, UpstreamReply, UpstreamRequest
from coincast_market_data.rate_limit.limiter import Limits, RateLimiter
from coincast_market_data.redis_executor import RedisExecutor
from coincast_market_data.settings import Settings

PING = UpstreamRequest("ping")
SECRET = "CG-very-secret-key"  # not one: a fake
Handler = Callable[[httpx2.Request], httpx2.Response]


def settings_of(**changes: Any) -> Settings:
    return Settings(**({"upstream_url": "https://upstream.test/api/v3"} | changes))


def client_for(
    handler: Handler, clock: ManualClock | None = None, **changes: Any
) -> tuple[HttpUpstream, UpstreamClock]:
    settings = settings_of(**changes)
    data_clock = UpstreamClock(clock or ManualClock(), sandbox=settings.upstream == "sandbox")
    http = open_http(settings, httpx2.MockTransport(handler))
    return HttpUpstream(http, settings, data_clock, active_plan(settings)), data_clock


def ok(document: object = None, **headers: str) -> httpx2.Response:
    return httpx2.Response(200, stream=Chunks([orjson.dumps(document or {})]), headers=headers)


@pytest.mark.parametrize(
    ("plan", "header"), [("keyless", None), ("demo", "x-cg-demo-api-key"), ("pro", "x-cg-pro-api-key")]
)
async def test_each_plan_sends_its_key_in_its_header_only(plan: str, header: str | None) -> None:
    seen: list[httpx2.Request] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return ok()

    upstream, _ = client_for(handler, plan=plan, api_key=SECRET)
    await upstream.fetch(UpstreamRequest("simple/price", (("ids", "bitcoin"),)))
    carried = {name for name, value in seen[0].headers.items() if SECRET in value}
    assert carried == ({header} if header else set())
    assert SECRET not in str(seen[0].url)


async def test_the_key_is_reported_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    settings = settings_of(plan="pro", api_key=SECRET)
    assert SECRET not in repr(settings) + str(settings.model_dump())
    upstream, _ = client_for(
        lambda _: httpx2.Response(401, stream=Chunks([b'{"error":"bad key"}'])), plan="pro", api_key=SECRET
    )
    with pytest.raises(Unavailable) as caught:
        await upstream.fetch(PING)
    assert SECRET not in caught.value.message + caplog.text + repr(caught.value.__cause__)


def test_a_plan_without_its_key_is_refused() -> None:
    with pytest.raises(ValidationError, match="MARKET_API_KEY"):
        settings_of(plan="demo")
    with pytest.raises(ValidationError, match="in the clear"):
        settings_of(plan="demo", api_key=SECRET, upstream_url="http://upstream.test/api/v3")


async def test_the_environments_proxy_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with open_http(settings_of()) as http:
        assert not http.trust_env
        assert not http.follow_redirects
        assert all(transport is None for transport in http._mounts.values())


@pytest.mark.parametrize(
    ("declared", "headers", "good"),
    [
        ("coingecko", {}, True),
        ("coingecko", {"x-coincast-sandbox": "1"}, False),
        ("sandbox", {"x-coincast-sandbox": "1"}, True),
        ("sandbox", {}, False),
    ],
)
async def test_what_answers_must_be_what_was_declared(
    declared: str, headers: dict[str, str], good: bool
) -> None:
    upstream, _ = client_for(lambda _: ok(**headers), upstream=declared)
    if good:
        await upstream.fetch(PING)
    else:
        with pytest.raises(UpstreamFailure, match="MARKET_UPSTREAM"):
            await upstream.fetch(PING)


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("http://coingecko.invalid/api/v3", b"GET http://coingecko.invalid/api/v3/ping HTTP/1.1"),
        ("https://coingecko.invalid/api/v3", b"CONNECT coingecko.invalid:443 HTTP/1.1"),
    ],
)
async def test_calls_go_through_the_forward_proxy(url: str, line: bytes) -> None:
    lines: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            lines.append((await reader.readuntil(b"\r\n\r\n")).splitlines()[0])
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as proxy:
        address = f"http://user:word@127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        settings = settings_of(upstream_url=url, proxy_url=address)
        async with open_http(settings) as http:
            clock = UpstreamClock(ManualClock(), sandbox=False)
            with pytest.raises(CoincastError):
                await HttpUpstream(http, settings, clock, active_plan(settings)).fetch(PING)
    assert lines == [line]
    assert "word" not in repr(settings)


@pytest.mark.parametrize("upstream", ["http://127.0.0.1:8100/api/v3", "http://localhost:8100/api/v3"])
def test_no_proxy_stands_before_an_upstream_on_this_machine(upstream: str) -> None:
    assert settings_of(upstream_url=upstream, proxy_url="http://proxy.example:3128").proxy is None


@pytest.mark.parametrize("address", ["proxy.example:3128", "socks5://proxy.example", "http://"])
def test_a_proxy_that_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValidationError, match="MARKET_PROXY_URL must be an address"):
        settings_of(proxy_url=address)


HOUR = 3600.0


def dated(offset: float, clock: ManualClock) -> dict[str, str]:
    return {"date": format_datetime(datetime.fromtimestamp(clock.now() + offset, UTC), usegmt=True)}


@pytest.mark.parametrize(
    ("offsets", "allowed"),
    [
        # One server whose clock is wrong, at any place among right ones.
        ([0, 25 * HOUR, 0, 0, 0, 0], [0.0]),
        ([0, 0, 0, 0, 2 * HOUR, 0], [0.0]),
        ([0, -25 * HOUR, 0, 0], [0.0]),
        ([0, 61, 0, 0, 0, 0, 130, 0], [0.0]),
        # The same at the start: the first reply is believed until a second one contradicts it.
        ([25 * HOUR, 0, 0, 0], [25 * HOUR, 0.0]),
        # Caches that say nothing of their age.
        ([0, -40, -HOUR, 0, -2 * HOUR, -40], [0.0]),
        ([0, -40, -40, -40, -40], [0.0]),
        # A machine whose clock is wrong by an hour, beside a cache.
        ([HOUR, HOUR, HOUR], [HOUR]),
        ([-HOUR, -HOUR, -2 * HOUR, -HOUR], [-HOUR]),
        # Beyond every time zone: not believed.
        ([365 * 24 * HOUR] * 6, [0.0]),
        ([-365 * 24 * HOUR] * 6, [0.0]),
        ([10 * 365 * 24 * HOUR, 0, -10 * 365 * 24 * HOUR], [0.0]),
    ],
)
def test_one_server_with_a_wrong_clock_moves_no_time(offsets: list[float], allowed: list[float]) -> None:
    clock = ManualClock()
    data_clock = UpstreamClock(clock, sandbox=False, wall=clock.now)
    seen = []
    for offset in offsets:
        data_clock.learn(dated(offset, clock))
        seen.append(data_clock.offset_seconds)
        clock.advance(7)
    assert all(any(abs(one - each) <= 1 for each in allowed) for one in seen), seen
    assert len(allowed) == 1 or abs(seen[-1]) <= 1


@pytest.mark.parametrize(
    "headers",
    [
        {"date": "yesterday"}, {"date": ""}, {"date": "Tue, 32 Nov 2023 22:13:20 GMT"}, {"date": "0"},
        {"date": "Tue, 14 Nov 99999 22:13:20 GMT"}, {"date": "\x00"}, {}, {"age": "nan"}, {"age": "1e400"},
    ],
)  # fmt: skip
def test_headers_without_a_usable_time_are_ignored(headers: dict[str, str]) -> None:
    data_clock = UpstreamClock(ManualClock(), sandbox=False)
    data_clock.learn(headers)
    assert data_clock.offset_seconds == 0.0


@pytest.mark.parametrize("age", ["-5", "nan", "inf", "1e9", "x", "", "0x10"])
def test_an_age_that_is_none_counts_as_none(age: str) -> None:
    clock = ManualClock()
    data_clock = UpstreamClock(clock, sandbox=False)
    data_clock.learn(dated(0, clock) | {"age": age})
    assert data_clock.offset_seconds == 0.0


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1", "1e300", "x", ""])
def test_a_sandbox_that_says_no_time_moves_no_time(value: str) -> None:
    data_clock = UpstreamClock(ManualClock(), sandbox=True)
    data_clock.learn({"x-coincast-sandbox-now": value})
    assert data_clock.offset_seconds == 0.0


def test_a_date_without_a_zone_is_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    try:
        clock = ManualClock()
        data_clock = UpstreamClock(clock, sandbox=False)
        data_clock.learn({"date": dated(0, clock)["date"].replace("GMT", "-0000")})
        assert data_clock.offset_seconds == 0.0
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_bomb_stops_at_the_cap(encoding: str) -> None:
    big = b"0" * 50_000_000
    packed = gzip.compress(big) if encoding == "gzip" else zlib.compress(big)

    def handler(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, stream=Chunks([packed]), headers={"content-encoding": encoding})

    upstream, _ = client_for(handler, max_reply_bytes=100_000)
    with pytest.raises(BadData, match="larger than 100000"):
        await upstream.fetch(PING)


class Chunks(httpx2.AsyncByteStream):
    """A body in pieces, with a pause between them."""

    def __init__(self, parts: list[bytes], pause_seconds: float = 0.0) -> None:
        self.parts, self.pause_seconds = parts, pause_seconds

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            await asyncio.sleep(self.pause_seconds)
            yield part


@given(st.binary(max_size=3000), st.integers(1, 400))
def test_any_split_of_a_zipped_body_reads_the_same(body: bytes, step: int) -> None:
    document = orjson.dumps({"x": body.hex()})
    packed = gzip.compress(document)
    parts = [packed[n : n + step] for n in range(0, len(packed), step)]

    def handler(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, stream=Chunks(parts), headers={"content-encoding": "gzip"})

    async def fetch() -> UpstreamReply:
        return await client_for(handler)[0].fetch(PING)

    assert asyncio.run(fetch()).document == {"x": body.hex()}


async def test_a_dripping_body_ends_at_the_total_deadline() -> None:
    upstream, _ = client_for(
        lambda _: httpx2.Response(200, stream=Chunks([b" "] * 1000, 0.05)), call_deadline_seconds=0.2
    )
    started = asyncio.get_running_loop().time()
    with pytest.raises(UpstreamFailure, match=r"0\.2 s") as late:
        await upstream.fetch(PING)
    assert (late.value.cause, late.value.retry_after_seconds) == (Cause.TIMEOUT, 5)
    assert asyncio.get_running_loop().time() - started < 25, "the whole body takes 50 s"
    assert upstream.in_flight == 0


NOW = datetime(2025, 9, 1, 13, 0, tzinfo=UTC)


@pytest.mark.parametrize("hours_off", [0.0, 1.0, -1.0, 12.0])
async def test_a_machine_clock_that_is_off_is_set_right_by_the_upstream(hours_off: float) -> None:
    clock = ManualClock(NOW.timestamp() + hours_off * 3600)
    upstream, data_clock = client_for(lambda _: ok(date=format_datetime(NOW, usegmt=True)), clock)
    reply = await upstream.fetch(PING)
    assert data_clock.now() == pytest.approx(NOW.timestamp(), abs=30)
    assert reply.received_at == pytest.approx(NOW.timestamp(), abs=30)


@pytest.mark.parametrize("date", ["Thu, 01 Jan 1970 00:00:00 GMT", "soon", "Fri, 01 Sep 2045 13:00:00 GMT"])
async def test_an_absurd_date_of_the_upstream_changes_nothing(date: str) -> None:
    clock = ManualClock(NOW.timestamp())
    upstream, data_clock = client_for(lambda _: ok(date=date), clock)
    await upstream.fetch(PING)
    assert data_clock.now() == NOW.timestamp()


async def test_a_sandbox_sets_the_clock_years_back() -> None:
    headers = {"x-coincast-sandbox": "1", "x-coincast-sandbox-now": "1577836800.5"}
    upstream, data_clock = client_for(
        lambda _: ok(**headers), ManualClock(NOW.timestamp()), upstream="sandbox"
    )
    await upstream.fetch(PING)
    assert data_clock.now() == 1577836800.5


class Scripted:
    """An upstream with scripted answers; the last one repeats."""

    def __init__(self, *answers: object, seconds: float = 0.0) -> None:
        self.answers, self.calls, self.seconds = list(answers), 0, seconds
        self.priorities: list[Priority] = []

    async def fetch(self, request: UpstreamRequest) -> UpstreamReply:
        self.calls += 1
        self.priorities.append(request.priority)
        await asyncio.sleep(self.seconds)
        answer = self.answers[min(self.calls, len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return UpstreamReply(answer, b"", received_at=0.0, as_of=0.0, seconds=0.0)


def guarded(inner: Scripted, *, limit: int = 1000, share: float = 1.0, **changes: Any) -> ResilientUpstream:
    clock = ManualClock()
    limiter = RateLimiter(
        Limits(limit, 0), replicas=1, clock=clock, executor=RedisExecutor(), client=None, prefix="t:"
    )
    return ResilientUpstream(
        inner,
        limiter=limiter,
        breakers=Breakers(settings_of(**changes), clock),
        availability=UpstreamAvailability(clock),
        budget=RetryBudget(share),
        max_attempts=3,
        retry_seconds=5.0,
        quota_wait_seconds=0.1,
        rand=lambda: 0.0,
    )


async def test_a_passing_failure_is_tried_again_and_a_refusal_is_not() -> None:
    inner = Scripted(Unavailable("x"), "fine")
    assert (await guarded(inner).fetch(PING)).document == "fine"
    assert inner.calls == 2
    for error in (NotFound("x"), Exhausted("x", retry_after_seconds=9.0), BadData("x")):
        inner = Scripted(error)
        with pytest.raises(type(error)):
            await guarded(inner).fetch(PING)
        assert inner.calls == 1


@given(st.integers(1, 300), st.floats(0, 1))
def test_retries_stay_within_their_share(calls: int, share: float) -> None:
    budget = RetryBudget(share)
    retries = 0
    for _ in range(calls):
        budget.add_first_attempt()
        while budget.spend():
            retries += 1
    assert retries <= calls * share + 1 + 1e-6


async def test_equal_requests_in_flight_are_one_but_a_caller_never_waits_behind_a_backfill() -> None:
    inner = Scripted("x", seconds=0.02)
    upstream = guarded(inner)
    backfill = UpstreamRequest("ping", (), "other", Priority.BACKFILL)
    await asyncio.gather(*(upstream.fetch(request) for request in [PING] * 50 + [backfill] * 50))
    assert sorted(inner.priorities) == [Priority.LIVE, Priority.BACKFILL]


async def test_all_callers_may_leave_and_the_fetch_still_ends_well() -> None:
    inner = Scripted("x", seconds=0.02)
    upstream = guarded(inner)
    callers = [asyncio.create_task(upstream.fetch(PING)) for _ in range(20)]
    await asyncio.sleep(0.005)
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    assert (await upstream.fetch(PING)).document == "x"
    assert inner.calls == 1, "the fetch under way was joined"


async def test_an_open_breaker_costs_no_quota() -> None:
    inner = Scripted(Unavailable("down"))
    upstream = guarded(inner, share=0.0, breaker_failures=3, breaker_min_calls=3)
    for number in range(10):
        with pytest.raises(Unavailable):
            await upstream.fetch(UpstreamRequest(f"coins/c{number}", (), "coin"))
    assert inner.calls == 3
    assert (await upstream._limiter.usage()).minute_used == 3
    with pytest.raises(Unavailable):
        await upstream.fetch(UpstreamRequest("coins/list", (), "lists"))
    assert inner.calls == 4, "another group has its own"


async def test_a_429_pauses_all_groups() -> None:
    inner = Scripted(Exhausted("limit", retry_after_seconds=119.0))
    upstream = guarded(inner)
    with pytest.raises(Exhausted):
        await upstream.fetch(PING)
    with pytest.raises(Exhausted) as caught:
        await upstream.fetch(UpstreamRequest("coins/list", (), "lists"))
    assert caught.value.retry_after_seconds == pytest.approx(119.0)
    assert inner.calls == 1


@pytest.mark.parametrize(("reported", "paused"), [(0.0, 1.0), (7.0, 7.0), (None, 60.0)])
async def test_the_pause_is_the_reported_one_and_never_zero(reported: float | None, paused: float) -> None:
    upstream = guarded(Scripted(Exhausted("limit", retry_after_seconds=reported)))
    with pytest.raises(Exhausted):
        await upstream.fetch(PING)
    assert (await upstream._limiter.usage()).paused_seconds == pytest.approx(paused)
