"""Replay CoinGecko's recorded replies through market-data and the gateway: the output equals them."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from coincast_gateway.server import serve
from coincast_gateway.settings import Settings
from coincast_market_data.coingecko.api_plans import PlanName
from coincast_market_data.settings import Settings as MarketSettings
from coincast_market_data.settings import UpstreamName
from tests.contract.market_harness import NO_REDIS, running_market
from tests.integration.coingecko.recordings import (
    FOLDER,
    RecordedUpstream,
    Recording,
    deliberate_differences,
    load_recordings,
    rounds,
)

RECORDINGS = load_recordings()
needs_recordings = pytest.mark.skipif(
    not RECORDINGS, reason=f"no recorded replies of CoinGecko (*.json) are in {FOLDER}"
)


@asynccontextmanager
async def mirror_over(upstream: RecordedUpstream, archive: Path) -> AsyncIterator[httpx2.AsyncClient]:
    """Run market-data and the gateway over recorded replies."""
    market = MarketSettings(
        port=0,
        upstream=UpstreamName.COINGECKO,
        upstream_url="https://api.coingecko.example/api/v3",
        plan=PlanName.KEYLESS,
        per_minute_limit=100_000,
        archive_dir=archive,
        redis_url=NO_REDIS,
        background_refresh=False,
        warm_ids=(),
        batch_window_seconds=0.0,
        drain_seconds=1.0,
    )
    async with running_market(market, transport=upstream.transport()) as stub:
        gateway = Settings(port=0, metrics_port=0, redis_url="", market_target=stub.address)
        async with serve(gateway) as address, httpx2.AsyncClient(base_url=address, timeout=30) as client:
            yield client


def differences(recording: Recording, reply: httpx2.Response, allowed: dict[str, int]) -> list[str]:
    """Return how the reply differs from the recording; nothing for a deliberate difference."""
    for pattern, status in allowed.items():
        if re.fullmatch(pattern, recording.path) and recording.status != status:
            return [] if reply.status_code == status else [f"{recording.name}: {reply.status_code}"]
    where = f"{recording.name} {recording.target[:80]}"
    if reply.status_code != recording.status:
        return [f"{where}: status {reply.status_code} for {recording.status}: {reply.text[:200]}"]
    said, ours = json.loads(recording.body), reply.json()
    if said == ours:
        return []
    return [f"{where}: {_first_difference(said, ours)}"]


def _first_difference(said: object, ours: object, path: str = "") -> str:
    if isinstance(said, dict) and isinstance(ours, dict):
        for name in [*said, *ours]:
            if said.get(name, ...) != ours.get(name, ...):
                return _first_difference(said.get(name, ...), ours.get(name, ...), f"{path}/{name}")
    if isinstance(said, list) and isinstance(ours, list):
        if len(said) != len(ours):
            return f"{path}: {len(ours)} entries for {len(said)}"
        for index, (one, other) in enumerate(zip(said, ours, strict=True)):
            if one != other:
                return _first_difference(one, other, f"{path}/{index}")
    return f"{path}: {ours!r} for {said!r}"[:300]


@needs_recordings
@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_recorded_replies_come_out_as_coingecko_said_them(tmp_path: Path) -> None:
    allowed = deliberate_differences()
    found: list[str] = []
    replayed = 0
    for number, group in enumerate(rounds(RECORDINGS)):
        upstream = RecordedUpstream()
        upstream.recordings = group
        async with mirror_over(upstream, tmp_path / str(number)) as client:
            for recording in group:
                reply = await client.get(f"/api/v3{recording.target}")
                found += differences(recording, reply, allowed)
                replayed += 1
    assert replayed == len(RECORDINGS)
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("coins/nobody", 404, {"error": "coin not found"}),
        ("coins/bitcoin/history?date=2024-01-01", 400, {"error": "invalid date"}),
        (
            "coins/bitcoin/market_chart?vs_currency=usd&days=900",
            401,
            {"error": {"status": {"timestamp": "t", "error_code": 10012, "error_message": "too far"}}},
        ),
        (
            "coins/bitcoin/ohlc?vs_currency=usd&days=30&interval=daily",
            401,
            {"status": {"error_code": 10005, "error_message": "exclusive to paid plans"}},
        ),
        ("coins/bitcoin/tickers", 400, {"status": {"error_code": 10010, "error_message": "wrong host"}}),
        ("simple/price?ids=bitcoin&vs_currencies=usd", 401,
         {"status": {"error_code": 10002, "error_message": "API Key Missing"}}),
        ("global", 403, {"status": {"error_code": 403, "error_message": "Forbidden"}}),
    ],
)  # fmt: skip
async def test_refusals_keep_their_code_and_status_and_cost_one_call(
    tmp_path: Path, path: str, status: int, body: dict[str, object]
) -> None:
    inner, _, query = path.partition("?")
    parameters = tuple(sorted(tuple(pair.split("=")) for pair in query.split("&") if pair))
    upstream = RecordedUpstream()
    upstream.recordings = [
        Recording("refusal", inner, path, parameters, status, json.dumps(body).encode())  # type: ignore[arg-type]
    ]
    async with mirror_over(upstream, tmp_path) as client:
        replies = [await client.get(f"/api/v3/{path}") for _ in range(3)]
    assert [(reply.status_code, reply.json()) for reply in replies] == [(status, body)] * 3
    requested = [url for url in upstream.requests if inner in url]
    assert len(requested) == 1 or inner == "simple/price"


async def test_an_error_object_with_status_200_is_an_error(tmp_path: Path) -> None:
    body = {"status": {"error_code": 429, "error_message": "You've exceeded the Rate Limit."}}
    upstream = RecordedUpstream()
    path = "coins/bitcoin/market_chart"
    upstream.recordings = [Recording("limit", path, path, (), 200, json.dumps(body).encode())]
    async with mirror_over(upstream, tmp_path) as client:
        reply = await client.get(f"/api/v3/{path}?vs_currency=usd&days=2")
    assert (reply.status_code, reply.json()) == (429, body)
    assert 1 <= int(reply.headers["retry-after"]) <= 60


@pytest.mark.parametrize("coin", ["-10", "1move token", "boringdao-[old]"])
async def test_real_ids_reach_coingecko(tmp_path: Path, coin: str) -> None:
    upstream = RecordedUpstream()
    document = {"id": coin, "symbol": "x", "name": "X"}
    upstream.recordings = [
        Recording("coin", f"coins/{coin}", "", (), 200, json.dumps(document).encode()),
        Recording("price", "simple/price", "", (), 200, json.dumps({coin: {"usd": 1.001}}).encode()),
    ]
    async with mirror_over(upstream, tmp_path) as client:
        assert (await client.get(f"/api/v3/coins/{coin}")).json() == document
        priced = await client.get("/api/v3/simple/price", params={"ids": coin, "vs_currencies": "usd"})
    assert priced.json() == {coin: {"usd": 1.001}}


async def test_a_coin_that_the_list_lacks_is_looked_up(tmp_path: Path) -> None:
    upstream = RecordedUpstream()
    listed = json.dumps([{"id": "bitcoin", "symbol": "btc", "name": "Bitcoin"}]).encode()
    prices = json.dumps({"just-listed": {"usd": 2.5}}).encode()
    upstream.recordings = [
        Recording("list", "coins/list", "", (), 200, listed),
        Recording("price", "simple/price", "", (), 200, prices),
    ]
    async with mirror_over(upstream, tmp_path) as client:
        await client.get("/coins")
        reply = await client.get("/api/v3/simple/price?ids=just-listed&vs_currencies=usd")
    assert reply.json() == {"just-listed": {"usd": 2.5}}


async def test_any_origin_may_fetch(tmp_path: Path) -> None:
    upstream = RecordedUpstream()
    origin = {"origin": "https://example.org"}
    async with mirror_over(upstream, tmp_path) as client:
        for target in ("/api/v3/ping", "/api/v3/ping", "/api/v3/coins/nobody", "/api/v3/nfts/list"):
            reply = await client.get(target, headers=origin)
            assert reply.headers.get_list("access-control-allow-origin") == ["*"], target
            assert reply.headers["access-control-expose-headers"] == "link, per-page, total"
        requested = {
            **origin,
            "access-control-request-method": "GET",
            "access-control-request-headers": "x-cg-demo-api-key",
        }
        preflight = await client.options("/api/v3/simple/price", headers=requested)
        assert preflight.status_code == 200
        assert "x-cg-demo-api-key" in preflight.headers["access-control-allow-headers"]
        assert "GET" in preflight.headers["access-control-allow-methods"]


def test_the_page_lists_every_mirrored_path() -> None:
    from coincast_gateway.coingecko_compat.routes import COMPAT_ROUTES

    page = (Path(__file__).resolve().parents[3] / "docs" / "coingecko-compatibility.md").read_text()
    listed = set(re.findall(r"`([a-z_]+(?:/[a-z_{}]+)*)`", page.split("## Deliberate")[0]))
    assert {route.template for route in COMPAT_ROUTES} <= listed
