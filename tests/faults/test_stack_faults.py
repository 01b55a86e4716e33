"""Faults met by the whole system: real processes, a client at the gateway, trouble behind it."""

import asyncio
import json
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from coincast_stack.options import StackOptions
from coincast_stack.testing import StackHandle, stack_for_tests

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]
FRESH_QUICKLY = {
    "MARKET_PRICES_FRESH_SECONDS": "1",
    "GATEWAY_PRICES_FRESH_SECONDS": "0.2",
    "GATEWAY_FORECASTS_FRESH_SECONDS": "0.2",
}
PATHS = (
    "/health",
    "/health/detailed",
    "/prices?ids=bitcoin&vs_currencies=usd",
    "/forecasts?ids=bitcoin&model=technical",
)
LIMITS_SECONDS = {"/health": 0.5, "/health/detailed": 2.0}
# What a stopped neighbour may cost a caller: the limit of the call behind, and slack.
FORECAST_LIMIT_SECONDS = 12.0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackHandle]:
    options = StackOptions(tmp_path_factory.mktemp("var"), train=(), extra_environment=FRESH_QUICKLY)
    with stack_for_tests(options) as running:
        yield running


@pytest.fixture
def client(stack: StackHandle) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=stack.gateway_url, timeout=30, trust_env=False) as made:
        yield made


@pytest.fixture
def sandbox(stack: StackHandle) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=str(stack.stack.sandbox_url), timeout=30, trust_env=False) as made:
        made.delete("/sandbox/faults")
        yield made
        made.delete("/sandbox/faults")


def price_of(client: httpx2.Client, coin: str = "bitcoin") -> tuple[int, Any]:
    reply = client.get(f"/prices?ids={coin}&vs_currencies=usd")
    return reply.status_code, reply.json()


def warm(client: httpx2.Client, coin: str = "bitcoin") -> float:
    for _ in range(200):
        status, document = price_of(client, coin)
        if status == 200 and document["prices"] and not document["prices"][0]["stale"]:
            return float(document["prices"][0]["price"])
        time.sleep(0.2)
    raise AssertionError(f"never warm: {document}")


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 500, "body": 1},
        {"kind": "status", "status": 429, "body": 5},
        {"kind": "latency", "seconds": 20},
        {"kind": "reset"},
        {"kind": "hang"},
        {"kind": "malformed"},
        {"kind": "nan", "value": "NaN"},
        {"kind": "nan", "value": "1e999"},
        {"kind": "nan", "value": "-1"},
        {"kind": "nan", "value": "0"},
        {"kind": "nan", "value": "null"},
        {"kind": "jump", "factor": 1e6},
        {"kind": "huge", "megabytes": 200},
        {"kind": "redirect", "location": "http://127.0.0.1:9/"},
    ],
    ids=lambda fault: "-".join(str(v) for v in fault.values()),
)
def test_a_warm_price_outlives_the_upstream(
    client: httpx2.Client, sandbox: httpx2.Client, fault: dict[str, Any]
) -> None:
    assert outlives(client, sandbox, fault)["stale"], "the fault had no effect"


def test_a_warm_price_outlives_a_refusal(tmp_path: Path) -> None:
    """A refusal that cannot heal is not repeated for an hour, so that this system serves no other test."""
    options = StackOptions(tmp_path, train=(), extra_environment=FRESH_QUICKLY)
    with (
        stack_for_tests(options) as stack,
        httpx2.Client(base_url=stack.gateway_url, timeout=30, trust_env=False) as client,
        httpx2.Client(base_url=str(stack.stack.sandbox_url), timeout=30, trust_env=False) as sandbox,
    ):
        assert outlives(client, sandbox, {"kind": "status", "status": 403, "body": 6})["stale"]


def outlives(client: httpx2.Client, sandbox: httpx2.Client, fault: dict[str, Any]) -> Counter[str]:
    """Eight seconds of a broken upstream, a price due for refresh: right or stale, never wrong, never 5xx.

    Returns how many replies were fresh and how many stale.
    """
    good = warm(client)
    assert sandbox.post("/sandbox/faults", json=fault).status_code == 201
    seen, slowest, began = Counter[str](), 0.0, time.monotonic()
    while time.monotonic() - began < 8:
        requested = time.monotonic()
        status, document = price_of(client)
        slowest = max(slowest, time.monotonic() - requested)
        assert status == 200, document
        (price,) = document["prices"]
        assert 0.5 < price["price"] / good < 2, f"a wrong number: {price['price']} after {good}"
        assert price["stale"] or price["age_seconds"] < 90
        assert price["reason"] or not price["stale"], "staleness is always reported"
        seen["stale" if price["stale"] else "fresh"] += 1
        time.sleep(0.1)
    print(f"{fault}: {dict(seen)}, slowest {slowest * 1000:.0f} ms")
    return seen


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_nonsense_for_a_cold_coin_is_an_error_of_that_coin(
    client: httpx2.Client, sandbox: httpx2.Client, value: str
) -> None:
    warm(client, "litecoin")
    coin = {"NaN": "monero", "Infinity": "stellar", "-Infinity": "uniswap", "1e999": "tron"}[value]
    sandbox.post(
        "/sandbox/faults", json={"kind": "nan", "path": "/simple/price", "value": value, "share_points": 1}
    )
    reply = client.get(f"/prices?ids={coin}&vs_currencies=usd")
    print(f"{value} for a cold coin: {reply.status_code} {reply.text[:150]}")
    assert reply.status_code in {200, 502, 503, 504}
    strict = json.loads(reply.text, parse_constant=lambda name: pytest.fail(f"{name} in a reply"))
    assert not strict.get("prices")


def warm_forecast(client: httpx2.Client) -> None:
    for _ in range(60):
        if (reply := client.get("/forecasts?ids=bitcoin&model=technical")).status_code == 200:
            return
        time.sleep(1)
    raise AssertionError(f"no forecast: {reply.text}")


# While a service is stopped, only requests that need it may be refused.
NEEDED_BY = {"forecast": PATHS[3:], "market": PATHS[2:3], "redis": (), "training": ()}


@pytest.mark.parametrize("name", sorted(NEEDED_BY))
def test_a_stopped_neighbour_costs_a_bounded_time(
    stack: StackHandle, client: httpx2.Client, name: str
) -> None:
    warm(client)
    warm_forecast(client)
    time.sleep(0.3)
    child = stack.stack.children[name]
    child.send(signal.SIGSTOP)
    try:
        for path in PATHS:
            began = time.monotonic()
            status = client.get(path).status_code
            seconds = time.monotonic() - began
            print(f"{name} stopped: {path} {status} after {seconds:.2f} s")
            assert status == 200 or (status in {503, 504} and path in NEEDED_BY[name])
            assert seconds < LIMITS_SECONDS.get(path, FORECAST_LIMIT_SECONDS)
    finally:
        child.send(signal.SIGCONT)


async def test_sigterm_to_the_gateway_under_load_loses_no_request(stack: StackHandle) -> None:
    """Twenty keep-alive clients: every request that was sent gets its answer; then the address is closed."""
    with httpx2.Client(base_url=stack.gateway_url, timeout=30, trust_env=False) as first:
        warm(first)
    outcomes, stop = Counter[str](), asyncio.Event()
    limits = httpx2.Limits(max_connections=20, max_keepalive_connections=20)
    client = httpx2.AsyncClient(base_url=stack.gateway_url, timeout=20, trust_env=False, limits=limits)

    async def one_client() -> None:
        while not stop.is_set():
            try:
                reply = await client.get("/prices?ids=bitcoin&vs_currencies=usd")
            except httpx2.ConnectError:
                outcomes["refused at the door"] += 1
                return
            except httpx2.HTTPError as error:
                outcomes[f"lost: {type(error).__name__}"] += 1
                return
            outcomes[str(reply.status_code)] += 1

    clients = [asyncio.create_task(one_client()) for _ in range(20)]
    async with asyncio.timeout(60):
        while outcomes["200"] < 500:  # noqa: ASYNC110 - the clients only count
            await asyncio.sleep(0.05)
    stack.stack.children["gateway"].send(signal.SIGTERM)
    code = await asyncio.to_thread(wait_for_end, stack)
    stop.set()
    await asyncio.gather(*clients)
    await client.aclose()
    print(f"SIGTERM under load: {dict(outcomes)}, exit code {code}")
    stack.restart("gateway")
    assert code == 0
    assert not [name for name in outcomes if name.startswith("lost")]
    assert set(outcomes) <= {"200", "503", "refused at the door"}


def wait_for_end(stack: StackHandle) -> int | None:
    deadline = time.monotonic() + 20
    while (code := stack.stack.children["gateway"].exit_code) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return code


def test_nothing_but_the_state_folder_is_written(stack: StackHandle) -> None:
    written = {p.name for p in Path(stack.stack.layout.state_dir).iterdir()}
    assert written <= {".lock", "logs", "redis", "archive", "artifacts", "ledger", "spool", "training"}
