"""A rehearsal polls the gateway as a client does, and records what was served and what was not allowed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from coincast_stack.errors import ChildDeathError, StackError
from coincast_stack.options import RehearsedPlan, Upstream
from coincast_stack.processes.probes import as_json, get
from coincast_stack.rehearsal import rehearse as module
from coincast_stack.rehearsal.record import RehearsalRecord
from coincast_stack.rehearsal.rehearse import COINS, limited_sandbox, rehearse
from tests.unit.stack.fake_system import FakeSystem, fake_system

PRICES = f"/prices?ids={','.join(COINS)}&vs_currencies=usd"
LIMITS = b'{"per_minute": 10}'


def prices(coins: tuple[str, ...] = COINS) -> tuple[int, bytes]:
    return 200, json.dumps({"prices": [{"id": coin, "price": 1.0} for coin in coins]}).encode()


def forecast(served_by: str = "lightgbm", **fields: Any) -> tuple[int, bytes]:
    document = {"served_by": served_by, "version": "v000001", "points": [{}], **fields}
    return 200, json.dumps({"forecasts": [document]}).encode()


def of_coin(coin: str) -> str:
    return f"/forecasts?ids={coin}&days=7&model=lightgbm"


@pytest.fixture
async def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeSystem]:
    for name in ("LEAST_SECONDS", "POLL_SECONDS", "CALM_POLL_SECONDS"):
        monkeypatch.setattr(module, name, 0.02)
    async with fake_system(tmp_path / "var") as running:
        running.use_coingecko()
        running.sandbox.by_path = {"/sandbox/limits": (200, LIMITS), "/api/v3/ping": (200, b"{}")}
        running.gateway.by_path = {"/health": (200, b"{}"), PRICES: prices()}
        running.gateway.by_path |= {of_coin(coin): forecast() for coin in COINS}
        yield running


class Sayings(list[str]):
    """The sentences, without their times."""

    def __call__(self, seconds: float, text: str) -> None:
        assert seconds >= 0
        self.append(text)


async def rehearsed(
    system: FakeSystem, folder: Path, say: Sayings, *, most_seconds: float = 60.0
) -> RehearsalRecord:
    @asynccontextmanager
    async def sandbox(plan: RehearsedPlan, within: Path) -> AsyncIterator[int]:
        assert within == folder
        yield system.layout.ports.sandbox

    plan = RehearsedPlan.DEMO
    return await rehearse(plan, folder, say, most_seconds=most_seconds, launch=system.launch, sandbox=sandbox)


async def test_a_start_in_which_every_coin_is_served(system: FakeSystem, tmp_path: Path) -> None:
    say = Sayings()
    system.gateway.by_path[of_coin("bitcoin")] = forecast(reason="from the starter version")
    record = await rehearsed(system, tmp_path, say)
    assert record.complete
    assert not record.faults
    assert (record.plan, record.per_minute, set(record.forecasts)) == ("demo", 10, set(COINS))
    assert record.forecasts["bitcoin"].note == "from the starter version"
    assert say[0].startswith("services started (")
    assert "prices of 10 coins (0 calls so far)" in say
    assert "forecast of bitcoin by lightgbm v000001 (0 calls so far): from the starter version" in say
    assert "forecast of solana by lightgbm v000001 (0 calls so far)" in say
    assert len(say) == len(set(say)), "each event is said once, though a coin is polled again"


@pytest.mark.parametrize(("plan", "key"), [(RehearsedPlan.KEYLESS, ""), (RehearsedPlan.BASIC, "rehearsal")])
async def test_the_services_take_the_proxy_for_coingecko(
    system: FakeSystem, tmp_path: Path, plan: RehearsedPlan, key: str
) -> None:
    called: list[tuple[int, bytes]] = []

    @asynccontextmanager
    async def sandbox(plan: RehearsedPlan, folder: Path) -> AsyncIterator[int]:
        yield system.layout.ports.sandbox

    async def call_upstream() -> None:
        (options,) = system.launched
        called.append(await get(f"{options.extra_environment['MARKET_UPSTREAM_URL']}/ping"))

    @asynccontextmanager
    async def launch(options: Any) -> AsyncIterator[Any]:
        async with system.launch(options) as stack:
            await call_upstream()
            yield stack

    record = await rehearse(plan, tmp_path, Sayings(), most_seconds=0, launch=launch, sandbox=sandbox)
    assert called == [(200, b"{}")]
    assert [(call.path, call.status) for call in record.calls] == [("/api/v3/ping", 200)]
    (options,) = system.launched
    assert (options.upstream, options.coingecko_api_key) == (Upstream.COINGECKO, key)
    assert options.var_dir == tmp_path / "var"


async def test_what_is_not_allowed_is_recorded_once_and_what_is_not_served_is_requested_again(
    system: FakeSystem, tmp_path: Path
) -> None:
    not_yet = {
        PRICES: prices(COINS[1:]),
        of_coin("bitcoin"): forecast("technical"),
        of_coin("ethereum"): (503, b"{}"),
        of_coin("ripple"): (500, b'{"detail": "Internal error"}'),
        of_coin("solana"): (0, b""),
    }
    system.gateway.first = {target: [reply] * 3 for target, reply in not_yet.items()}
    say = Sayings()
    record = await rehearsed(system, tmp_path, say)
    assert record.complete
    assert all(system.gateway.requested.count(target) >= 4 for target in not_yet)
    unreadable, *refused = sorted(record.faults, key=lambda fault: "solana" not in fault)
    assert unreadable.startswith(f"{of_coin('solana')}: RemoteProtocolError")
    assert sorted(refused) == [
        f"{of_coin('ethereum')}: 503 without Retry-After",
        f"{of_coin('ripple')}: 500 Internal error",
    ]
    assert [say.count(f"FAULT {fault}") for fault in record.faults] == [1, 1, 1]
    assert len([text for text in say if text.startswith("forecast of")]) == len(COINS)
    assert "forecast of bitcoin by lightgbm v000001 (0 calls so far)" in say


async def test_a_process_that_ends_ends_the_rehearsal(system: FakeSystem, tmp_path: Path) -> None:
    system.run_instead("training", ["sh", "-c", "echo no space left; exit 1"])
    system.gateway.by_path[PRICES] = prices(())
    with pytest.raises(ChildDeathError, match="no space left"):
        await rehearsed(system, tmp_path, Sayings())


async def test_a_gateway_that_never_answers_ends_the_rehearsal(
    system: FakeSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "START_SECONDS", 0.0)
    system.gateway.by_path = {}
    with pytest.raises(StackError, match="the gateway did not answer within 0 s"):
        await rehearsed(system, tmp_path, Sayings())


@pytest.mark.slow
async def test_a_sandbox_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDBOX_TODAY", "yesterday")
    with pytest.raises(ChildDeathError, match="SANDBOX_TODAY"):
        async with limited_sandbox(RehearsedPlan.KEYLESS, tmp_path):
            pass


@pytest.mark.slow
async def test_the_sandbox_has_the_limits_of_the_plan(tmp_path: Path) -> None:
    async with limited_sandbox(RehearsedPlan.KEYLESS, tmp_path) as port:
        _, body = await get(f"http://127.0.0.1:{port}/sandbox/limits", timeout_seconds=30)
    assert as_json(body)["per_minute"] == 10
    assert (await get(f"http://127.0.0.1:{port}/sandbox/limits"))[0] == 0
