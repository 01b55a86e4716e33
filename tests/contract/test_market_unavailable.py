"""CoinGecko cannot be had: said soon after the start, with the cause, and refusals cost one call."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from coincast.market.v1 import market_pb2 as pb
from coincast_chassis.errors import CoincastError, Exhausted, Unavailable
from coincast_market_data.coingecko.api_plans import PlanName
from coincast_market_data.settings import UpstreamName
from tests.contract.market_harness import running_market, settings_for
from tests.contract.market_mock import Body, MockUpstream

SOON_SECONDS = 10.0
WARM = ("bitcoin", "ethereum")


def raising(error: Exception, inner: Exception | None = None) -> Callable[[httpx2.Request], httpx2.Response]:
    def answer(_: httpx2.Request) -> httpx2.Response:
        raise error from inner

    return answer


def replying(status: int, body: bytes) -> Callable[[httpx2.Request], httpx2.Response]:
    return lambda _: httpx2.Response(status, stream=Body(body))


def code(number: int, message: str = "refused") -> bytes:
    return json.dumps({"status": {"error_code": number, "error_message": message}}).encode()


# What answers, the cause, and whether asking again cannot heal it.
CASES: dict[str, tuple[Callable[[httpx2.Request], httpx2.Response], str, bool]] = {
    "no route": (raising(httpx2.ConnectError("refused"), ConnectionRefusedError()), "no_route", False),
    "dns": (raising(httpx2.ConnectError("x"), socket.gaierror(-2, "unknown")), "dns", False),
    "tls": (raising(httpx2.ConnectError("x"), ssl.SSLError("self-signed")), "tls", False),
    "connect timeout": (raising(httpx2.ConnectTimeout("late")), "timeout", False),
    "login page": (replying(200, b"\n<html>Welcome to the hotel</html>"), "not_coingecko", False),
    "redirect": (replying(302, b""), "not_coingecko", False),
    "blocked address": (replying(403, b"<html>error code: 1020</html>"), "forbidden", True),
    "missing key": (replying(401, code(10002)), "missing_key", True),
    "wrong key": (replying(401, b'{"error":"invalid api key"}'), "invalid_key", True),
    "invalid key": (replying(401, code(10002, "Invalid API Key")), "invalid_key", True),
    "expired key": (replying(401, code(401, "Your API key has expired.")), "invalid_key", True),
    "key of the other host": (replying(400, code(10011)), "wrong_host", True),
    "paid key on the public host": (replying(400, code(10010)), "wrong_host", True),
    "plan too low": (replying(401, code(10005)), "plan_too_low", True),
    "plan too low in other words": (replying(401, code(10012)), "plan_too_low", True),
    "payment required": (replying(402, b'{"error":"payment required"}'), "plan_too_low", True),
    "credits": (
        replying(429, b'{"status":{"error_code":429,"error_message":"monthly credits used up"}}'),
        "credits_used_up",
        True,
    ),
    "credits by their code": (
        replying(429, code(10006, "You've exceeded your monthly credit.")),
        "credits_used_up",
        True,
    ),
    "credits as a refusal": (replying(403, b'{"error":"No credits left"}'), "credits_used_up", True),
    "text": (replying(200, b"please log in"), "not_coingecko", False),
    "nothing": (replying(200, b""), "not_coingecko", False),
    "server error": (replying(500, b""), "server_error", False),
}


class CountingTransport:
    """Count the calls that reach the upstream."""

    def __init__(self, answer: Callable[[httpx2.Request], httpx2.Response]) -> None:
        self.answer = answer
        self.paths: list[str] = []

    @property
    def calls(self) -> int:
        return len(self.paths)

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.paths.append(request.url.path.removeprefix("/api/v3/"))
        return self.answer(request)


def settings(folder: Path, **changes: Any) -> Any:
    values: dict[str, Any] = {
        "upstream": UpstreamName.COINGECKO,
        "plan": PlanName.DEMO,
        "per_minute_limit": 30,
        "warm_ids": WARM,
        "quota_wait_seconds": 0.2,
    }
    return settings_for(MockUpstream(), folder, **(values | changes))


async def until_tried(stub: Any) -> pb.UpstreamStatus:
    for _ in range(200):
        status = (await stub.GetStatus(pb.GetStatusRequest(), timeout=5)).upstream_status
        if status.tried:
            return status
        await asyncio.sleep(0.05)
    raise AssertionError("no call was made")


@pytest.mark.parametrize("name", CASES)
async def test_the_cause_is_said_soon_and_a_refusal_costs_one_call(tmp_path: Path, name: str) -> None:
    answer, cause, permanent = CASES[name]
    transport = CountingTransport(answer)
    started = time.monotonic()
    async with running_market(settings(tmp_path), transport=httpx2.MockTransport(transport)) as stub:
        status = await until_tried(stub)
        assert time.monotonic() - started < SOON_SECONDS
        assert (status.available, status.cause, status.permanent) == (False, cause, permanent)
        for question in range(6):
            with pytest.raises(CoincastError) as caught:
                await stub.GetPrices(pb.GetPricesRequest(ids=[f"coin-{question}"]), timeout=5)
            assert isinstance(caught.value, Unavailable) or cause == "timeout"
        if permanent:
            assert transport.calls == 1
            assert caught.value.message == status.sentence


@pytest.mark.parametrize(
    ("changes", "calls"),
    [({"plan": PlanName.AUTO}, ["key", "ping"]), ({"plan": PlanName.ANALYST}, ["key"])],
    ids=["a plan that is looked for at both hosts", "a plan by setting"],
)
async def test_a_refused_key_is_not_tried_again(
    tmp_path: Path, changes: dict[str, Any], calls: list[str]
) -> None:
    transport = CountingTransport(replying(401, b'{"error":"invalid api key"}'))
    async with running_market(
        settings(tmp_path, api_key="CG-mistyped", **changes), transport=httpx2.MockTransport(transport)
    ) as stub:
        status = await until_tried(stub)
        assert (status.cause, status.permanent) == ("invalid_key", True)
        for question in range(3):
            with pytest.raises(Unavailable, match="COINGECKO_API_KEY"):
                await stub.GetPrices(pb.GetPricesRequest(ids=[f"coin-{question}"]), timeout=5)
    assert transport.paths == calls


async def test_a_refusal_that_make_run_has_met_costs_no_further_call(tmp_path: Path) -> None:
    transport = CountingTransport(replying(401, b'{"error":"invalid api key"}'))
    known = {"cause": "invalid_key", "sentence": "CoinGecko refuses the key. Check it.", "at": time.time()}
    changes = {"plan": PlanName.AUTO, "api_key": "CG-mistyped", "known_refusal": json.dumps(known)}
    async with running_market(
        settings(tmp_path, **changes), transport=httpx2.MockTransport(transport)
    ) as stub:
        status = await until_tried(stub)
        assert (status.cause, status.permanent) == ("invalid_key", True)
        with pytest.raises(Unavailable, match="CoinGecko refuses the key"):
            await stub.GetPrices(pb.GetPricesRequest(ids=["bitcoin"]), timeout=5)
    assert transport.paths == []


async def test_a_silent_host_that_make_run_has_met_is_named_without_a_call(tmp_path: Path) -> None:
    calls: list[str] = []

    async def never(request: httpx2.Request) -> httpx2.Response:
        calls.append(request.url.path)
        await asyncio.Event().wait()
        raise AssertionError

    known = {"cause": "timeout", "sentence": "CoinGecko did not answer ping in time.", "at": time.time()}
    async with running_market(
        settings(tmp_path, known_refusal=json.dumps(known)), transport=httpx2.MockTransport(never)
    ) as stub:
        status = (await stub.GetStatus(pb.GetStatusRequest(), timeout=5)).upstream_status
        with pytest.raises(Unavailable, match="did not answer ping in time"):
            await stub.GetPrices(pb.GetPricesRequest(ids=["bitcoin"]), timeout=5)
    assert calls == []
    assert (status.available, status.cause, status.permanent) == (False, "timeout", False)
    assert status.sentence == known["sentence"]


async def test_a_mirrored_path_that_the_plan_lacks_stops_no_other_call(tmp_path: Path) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith("/key"):
            return replying(401, code(10002, "API Key Missing"))(request)
        known = {"price": b'{"solana":{"usd":20.0,"eur":18.0}}', "supported_vs_currencies": b'["usd","eur"]'}
        return replying(200, known.get(request.url.path.rpartition("/")[2], b"[]"))(request)

    transport = CountingTransport(answer)
    async with running_market(
        settings(tmp_path, plan=PlanName.KEYLESS, warm_ids=("solana",), background_refresh=False),
        transport=httpx2.MockTransport(transport),
    ) as stub:
        for _ in range(3):
            refusal = await stub.GetDocument(pb.GetDocumentRequest(path="key"), timeout=5)
            assert refusal.error_status == 401
        status = (await stub.GetStatus(pb.GetStatusRequest(), timeout=5)).upstream_status
        assert (status.available, status.cause) == (True, "")
        request = pb.GetPricesRequest(ids=["solana"], vs_currencies=["eur"])
        assert (await stub.GetPrices(request, timeout=10)).prices[0].price == 18.0
    assert transport.paths.count("key") == 1


async def test_a_limit_that_failing_calls_used_up_is_not_the_reported_reason(tmp_path: Path) -> None:
    answer, _, _ = CASES["dns"]
    transport = httpx2.MockTransport(CountingTransport(answer))
    changes = {"per_minute_limit": 3, "breaker_failures": 100, "breaker_min_calls": 100}
    async with running_market(settings(tmp_path, **changes), transport=transport) as stub:
        for question in range(6):
            with pytest.raises(Unavailable, match="cannot be resolved"):
                await stub.GetPrices(pb.GetPricesRequest(ids=[f"coin-{question}"]), timeout=5)


async def test_coingecko_comes_back_without_a_restart(tmp_path: Path) -> None:
    answer, _, _ = CASES["dns"]
    transport = CountingTransport(answer)
    async with running_market(settings(tmp_path), transport=httpx2.MockTransport(transport)) as stub:
        await until_tried(stub)
        transport.answer = replying(200, b'{"solana":{"usd":20.0}}')
        reply = await stub.GetPrices(pb.GetPricesRequest(ids=["solana"]), timeout=10)
        assert reply.prices[0].price == 20.0
        status = (await stub.GetStatus(pb.GetStatusRequest(), timeout=5)).upstream_status
        assert (status.available, status.cause, status.sentence) == (True, "", "")


@pytest.mark.parametrize(
    ("body", "error"), [(code(429), Exhausted), (b'{"error":"service down"}', Unavailable)]
)
async def test_an_error_in_a_reply_of_200_is_no_missing_coin(
    tmp_path: Path, body: bytes, error: type[CoincastError]
) -> None:
    transport = CountingTransport(replying(200, body))
    async with running_market(
        settings(tmp_path, warm_ids=()), transport=httpx2.MockTransport(transport)
    ) as stub:
        with pytest.raises(error):
            await stub.GetPrices(pb.GetPricesRequest(ids=["solana"]), timeout=5)
