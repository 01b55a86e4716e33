"""Replay CoinGecko's recorded replies through market-data and the gateway: the output equals them."""

from __future__ import annotations

import json
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from coincast_gateway.coingecko_compat.routes import COMPAT_ROUTES
from coincast_gateway.server import serve
from coincast_gateway.settings import Settings
from coincast_market_data.coingecko.api_plans import PlanName
from coincast_market_data.settings import Settings as MarketSettings
from coincast_market_data.settings import UpstreamName
from tests.contract.coingecko_schemas import needs_openapi, operations
from tests.contract.market_harness import NO_REDIS, running_market
from tests.integration.coingecko.recordings import (
    FOLDER,
    SIMPLE_PRICE,
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


async def differences_of_replay(recordings: list[Recording], folder: Path) -> list[str]:
    """Replay recordings through the whole stack; return what comes out otherwise, deliberate ones aside."""
    allowed = deliberate_differences()
    found: list[str] = []
    replayed = 0
    for number, group in enumerate(rounds(recordings)):
        upstream = RecordedUpstream()
        upstream.recordings = group
        async with mirror_over(upstream, folder / str(number)) as client:
            for recording in group:
                reply = await client.get(f"/api/v3{recording.target}")
                found += differences(recording, reply, allowed)
                replayed += 1
    assert replayed == len(recordings)
    return found


@needs_recordings
@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_recorded_replies_come_out_as_coingecko_said_them(tmp_path: Path) -> None:
    assert await differences_of_replay(RECORDINGS, tmp_path) == []


def varied(recording: Recording, kind: str, rng: random.Random) -> Recording:
    """Return a recording as CoinGecko might give it of another coin or in another year.

    Args:
        recording: A reply of status 200.
        kind: `unicode` texts, figures that are `null` or `tiny`, fields that are `missing` or `added`.
        rng: Chooses where.
    """
    document = json.loads(recording.body)
    chart, price = "market_chart" in recording.path, recording.path == SIMPLE_PRICE
    if kind == "tiny":
        document = _scaled(document, chart=chart)
    elif kind == "added":
        document = _with_field(document) if not price else document
    elif not (chart or price):
        document = _changed(document, kind, rng)
    body = json.dumps(document, ensure_ascii=rng.random() < 0.5)
    return replace(recording, body=body.encode())


def _scaled(value: Any, *, chart: bool, name: str = "") -> Any:
    """Return figures of 1e-12 and less, with eight digits, which the mirror does not round; times stay."""
    if isinstance(value, dict):
        return {key: _scaled(inner, chart=chart, name=key) for key, inner in value.items()}
    if isinstance(value, list) and chart and len(value) == 2 and not isinstance(value[0], list):
        return [value[0], _scaled(value[1], chart=chart)]
    if isinstance(value, list):
        return [_scaled(inner, chart=chart, name=name) for inner in value]
    if isinstance(value, bool) or not isinstance(value, int | float) or name.endswith(("_at", "rank")):
        return value
    return float(f"{value * 1e-12:.7e}")


def _with_field(document: Any) -> Any:
    added = {"added_in_2027": {"figures": [1, None, 1e-9], "text": "ü"}}
    if isinstance(document, dict):
        return document | added
    return [row | added if isinstance(row, dict) else row for row in document]


def _changed(value: Any, kind: str, rng: random.Random) -> Any:
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if kind != "missing" or k == "id" or rng.random() > 0.2}
        return {k: _changed(v, kind, rng) if k not in ("id", "symbol") else v for k, v in kept.items()}
    if isinstance(value, list):
        return [_changed(inner, kind, rng) for inner in value]
    if kind == "unicode" and isinstance(value, str) and rng.random() < 0.3 and not value[:4].isdigit():
        return rng.choice(["Ünïcödé ₿", "貔貅", "🚀 <b>&amp;", 'a\u0301 "x" \\', "نفط"])
    if kind == "null" and isinstance(value, int | float) and not isinstance(value, bool):
        return None if rng.random() < 0.3 else value
    return value


@needs_recordings
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kinds", [("unicode", "null", "missing", "added"), ("tiny",)], ids=" ".join)
async def test_varied_replies_come_out_as_they_came_in(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    rng = random.Random(14)
    # Prices alone are varied by size only; their figures have a table below.
    replies = [r for r in RECORDINGS if r.status == 200 and (r.path != SIMPLE_PRICE or "tiny" in kinds)]
    changed = [varied(recording, kind, rng) for kind in kinds for recording in replies]
    assert await differences_of_replay(changed, tmp_path) == []


ALL_FIGURES = "&".join(
    f"include_{name}=true" for name in ("market_cap", "24hr_vol", "24hr_change", "last_updated_at")
)
UPDATED = 1_764_425_000


@pytest.mark.parametrize(
    "row",
    [
        {"usd": 1.5, "usd_market_cap": 2.5, "usd_24h_vol": 0.5, "usd_24h_change": -1.5e-5},
        {"usd": 1.5, "usd_market_cap": None, "usd_24h_vol": None, "usd_24h_change": None},
        {"usd": 1.5, "usd_market_cap": 0, "usd_24h_vol": 0, "usd_24h_change": 0},
        {"usd": 1.5, "last_updated_at": UPDATED},
        {"usd": 1.5, "usd_market_cap": 123.5},
        {"usd": None},
        {"usd": None, "usd_market_cap": None, "usd_24h_vol": None, "usd_24h_change": None},
        {"usd_market_cap": None, "usd_24h_vol": None, "usd_24h_change": None, "last_updated_at": UPDATED},
        {"usd": 0, "usd_market_cap": 0, "usd_24h_vol": 0, "usd_24h_change": 0, "last_updated_at": UPDATED},
        {"usd": 1.9e-12, "usd_market_cap": 3e15},
        {},
    ],
    ids=json.dumps,
)
async def test_a_price_comes_with_the_figures_that_coingecko_gave(
    tmp_path: Path, row: dict[str, float | None]
) -> None:
    upstream = RecordedUpstream()
    listed = b'[{"id":"bitcoin","symbol":"btc","name":"Bitcoin"}]'
    upstream.recordings = [
        Recording("list", "coins/list", "", (), 200, listed),
        Recording("currencies", "simple/supported_vs_currencies", "", (), 200, b'["usd"]'),
        Recording("price", SIMPLE_PRICE, "", (), 200, json.dumps({"bitcoin": row}).encode()),
    ]
    async with mirror_over(upstream, tmp_path) as client:
        target = f"/api/v3/simple/price?ids=bitcoin&vs_currencies=usd&{ALL_FIGURES}"
        replies = [(await client.get(target)).json() for _ in range(2)]
        bare = await client.get("/api/v3/simple/price?ids=bitcoin&vs_currencies=usd")
    assert replies == [{"bitcoin": row}] * 2
    assert bare.json() == {"bitcoin": {name: value for name, value in row.items() if name == "usd"}}


@pytest.mark.parametrize("figure", ["-5", '"much"', "NaN", "1e999"])
async def test_a_figure_that_cannot_be_true_is_not_passed_on(tmp_path: Path, figure: str) -> None:
    upstream = RecordedUpstream()
    body = f'{{"bitcoin":{{"usd":{figure},"usd_24h_vol":{figure},"usd_24h_change":2}}}}'.encode()
    upstream.recordings = [Recording("price", SIMPLE_PRICE, "", (), 200, body)]
    async with mirror_over(upstream, tmp_path) as client:
        reply = await client.get(
            f"/api/v3/simple/price?ids=bitcoin&vs_currencies=usd&{ALL_FIGURES}&precision=full"
        )
    shown = reply.json().get("bitcoin", {}) if reply.status_code == 200 else {}
    assert not {"usd", "usd_24h_vol"} & set(shown)


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


@needs_openapi
async def test_what_is_not_mirrored_is_listed_and_says_so(tmp_path: Path) -> None:
    allowed = deliberate_differences()
    mirrored = {re.sub(r"\{[a-z_]+\}", "{}", route.template) for route in COMPAT_ROUTES}
    paths = {path.strip("/") for host in ("demo", "pro") for path in operations(host)}
    others = sorted(path for path in paths if re.sub(r"\{[a-z_]+\}", "{}", path) not in mirrored)
    assert len(others) > 50
    upstream = RecordedUpstream()
    async with mirror_over(upstream, tmp_path) as client:
        before = len(upstream.requests)
        for path in others:
            target = re.sub(r"\{[a-z_]+\}", "x", path)
            assert any(re.fullmatch(pattern, target) for pattern in allowed), path
            reply = await client.get(f"/api/v3/{target}")
            assert reply.status_code == 404, path
            assert "not mirrored" in reply.json()["error"]["status"]["error_message"], path
        assert upstream.requests[before:] == []


def test_the_page_lists_every_mirrored_path() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "coingecko-compatibility.md").read_text()
    listed = set(re.findall(r"`([a-z_]+(?:/[a-z_{}]+)*)`", page.split("## Deliberate")[0]))
    assert {route.template for route in COMPAT_ROUTES} <= listed
