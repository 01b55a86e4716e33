"""Keys, scopes and limits at a running gateway, with a real Valkey behind."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator

import httpx2
import pytest

from coincast.training.v1 import training_pb2 as tr
from coincast_chassis.errors import Unavailable
from coincast_chassis.redis import open_redis
from coincast_gateway.auth.api_keys import REDIS_KEY, KeyStore
from tests.contract.gateway.fakes import client_of, world
from tests.contract.valkey_harness import RunningValkey, running_valkey


@pytest.fixture
def valkey() -> Iterator[RunningValkey]:
    with running_valkey() as server:
        yield server


async def made(url: str, name: str, scope: str, **limits: int) -> str:
    client = open_redis(url, timeout_seconds=2)
    try:
        return await KeyStore(client).create(name, scope, **limits)
    finally:
        await client.aclose()


async def test_scopes_decide_what_a_key_may(valkey: RunningValkey) -> None:
    reader, admin = await made(valkey.url, "reader", "read"), await made(valkey.url, "boss", "admin")
    promote = {"version": "v000001"}
    async with (
        world(redis_url=valkey.url, require_keys=True) as there,
        client_of(there) as http,
    ):
        for path in ("/health", "/docs", "/openapi.json"):
            assert (await http.get(path)).status_code == 200, path
        missing = await http.get("/prices?ids=bitcoin")
        assert (missing.status_code, missing.json()["field"]) == (401, "X-API-Key")
        wrong = await http.get("/prices?ids=bitcoin", headers={"x-api-key": "cc_wrong"})
        assert "unknown or revoked" in wrong.json()["detail"]
        for shown in ({"x-api-key": reader}, {"authorization": f"Bearer {reader}"}):
            reply = await http.get("/prices?ids=bitcoin", headers=shown)
            assert reply.status_code == 200
            assert reply.headers["cache-control"].startswith("private")
        # A kept reply is no way round the gate.
        assert (await http.get("/prices?ids=bitcoin")).status_code == 401
        for path in ("/models", "/models/lightgbm/compare?a=v000001&b=v000001"):
            assert (await http.get(path)).status_code == 401, path
            assert (await http.get(path, headers={"x-api-key": reader})).status_code == 200, path
        assert (await http.get("/models/audit", headers={"x-api-key": reader})).status_code == 403
        low = await http.post("/models/lightgbm/promote", json=promote, headers={"x-api-key": reader})
        assert low.status_code == 403
        high = await http.post("/models/lightgbm/promote", json=promote, headers={"x-api-key": admin})
        assert high.status_code == 200
        assert there.training.script.requested(tr.PromoteVersionRequest).requested_by == "boss"


async def test_the_mirror_takes_the_key_under_coingeckos_names(valkey: RunningValkey) -> None:
    key = await made(valkey.url, "reader", "read")
    async with (
        world(redis_url=valkey.url, require_keys=True) as there,
        client_of(there) as http,
    ):
        refused = await http.get("/api/v3/ping")
        assert refused.status_code == 401
        assert refused.json() == {"status": {"error_code": 10002, "error_message": "API Key Missing"}}
        assert (await http.get("/api/v3/ping", params={"x_cg_demo_api_key": key})).status_code == 200
        assert (await http.get("/api/v3/ping", headers={"x-cg-pro-api-key": key})).status_code == 200


async def test_a_revoked_key_is_refused_soon_and_keys_lie_hashed(valkey: RunningValkey) -> None:
    key = await made(valkey.url, "reader", "read")
    client = open_redis(valkey.url, timeout_seconds=2)
    rows = await client.hgetall(REDIS_KEY)
    assert key not in str(rows)
    shown = {"x-api-key": key}
    async with (
        world(redis_url=valkey.url, require_keys=True) as there,
        client_of(there) as http,
    ):
        await made(valkey.url, "other", "read")
        assert (await http.get("/prices?ids=bitcoin", headers=shown)).status_code == 200
        await KeyStore(client).revoke("reader")
        async with asyncio.timeout(5):
            while (await http.get("/prices?ids=bitcoin", headers=shown)).status_code != 401:  # noqa: ASYNC110 - HTTP has no event
                await asyncio.sleep(0.2)
    await client.aclose()


async def test_two_gateways_share_one_limit(valkey: RunningValkey) -> None:
    async with (
        world(redis_url=valkey.url, address_per_minute=40) as one,
        world(redis_url=valkey.url, address_per_minute=40) as two,
        httpx2.AsyncClient() as http,
    ):
        began = time.monotonic()
        replies = [
            await http.get(f"{there.url}/prices?ids=bitcoin") for _ in range(30) for there in (one, two)
        ]
        refilled = 40 * (time.monotonic() - began) / 60
    good = [reply for reply in replies if reply.status_code == 200]
    refused = [reply for reply in replies if reply.status_code == 429]
    assert len(good) + len(refused) == 60
    assert 38 <= len(good) <= 42 + refilled
    assert all(1 <= int(reply.headers["retry-after"]) <= 60 for reply in refused)
    assert good[0].headers["ratelimit-policy"] == '"minute";q=40;w=60'
    left = [int(reply.headers["ratelimit"].split("r=")[1].split(";")[0]) for reply in good]
    assert left[0] > left[-1] >= 0


async def test_without_redis_each_process_counts_for_itself(valkey: RunningValkey) -> None:
    async with (
        world(redis_url=valkey.url, address_per_minute=20) as there,
        httpx2.AsyncClient(base_url=there.url, timeout=10) as http,
    ):
        valkey.kill()
        statuses = [(await http.get("/prices?ids=bitcoin")).status_code for _ in range(30)]
    assert 20 <= statuses.count(200) <= 22
    assert statuses.count(429) == 30 - statuses.count(200)


async def test_a_forged_address_is_not_accepted_unless_a_proxy_is_trusted() -> None:
    forged = [{"x-forwarded-for": f"203.0.113.{n}"} for n in range(30)]
    async with world(address_per_minute=20) as there, client_of(there) as http:
        statuses = [(await http.get("/prices?ids=bitcoin", headers=each)).status_code for each in forged]
        assert statuses.count(429) >= 8
    trusting = {"address_per_minute": 20, "trusted_proxies": "127.0.0.0/8"}
    async with world(**trusting) as there, client_of(there) as http:
        statuses = [(await http.get("/prices?ids=bitcoin", headers=each)).status_code for each in forged]
        assert statuses.count(429) == 0


async def test_it_refuses_to_start_beyond_loopback_without_keys(valkey: RunningValkey) -> None:
    with pytest.raises(Unavailable, match="needs API keys, and there are none"):
        async with world(host="0.0.0.0", redis_url=valkey.url):
            raise AssertionError("it started")
    async with world(host="0.0.0.0", allow_open=True) as there:
        address = there.url.replace("0.0.0.0", "127.0.0.1")
        async with httpx2.AsyncClient(base_url=address) as http:
            assert (await http.get("/prices?ids=bitcoin")).status_code == 200
            assert (await http.post("/models/lightgbm/rollback")).status_code == 401


async def test_keys_are_made_listed_and_revoked_on_the_command_line(valkey: RunningValkey) -> None:
    async def keys(*arguments: str) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "coincast_gateway.cli.keys", *arguments,
            env={**os.environ, "GATEWAY_REDIS_URL": valkey.url},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode().strip()

    code, key = await keys("create", "ci", "--scope", "train")
    assert code == 0
    assert key.startswith("cc_")
    assert len(key) == 46
    code, listed = await keys("list")
    assert listed.startswith("ci\tread,train\t")
    assert key not in listed
    assert (await keys("create", "ci"))[0] == 1
    assert (await keys("revoke", "ci"))[0] == 0
    assert (await keys("list"))[1] == ""


async def test_browsers_of_named_origins_are_let_in() -> None:
    origin = {"origin": "https://shop.example"}
    async with (
        world(cors_origins="https://shop.example") as there,
        client_of(there) as http,
    ):
        for served in ("anew", "from ready bytes"):
            reply = await http.get("/prices?ids=bitcoin", headers=origin)
            assert reply.headers["access-control-allow-origin"] == "https://shop.example", served
        requested = {
            **origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": "x-api-key",
        }
        assert (await http.options("/training/jobs", headers=requested)).status_code == 200
        assert (
            "access-control-allow-origin"
            not in (await http.get("/health", headers={"origin": "https://x"})).headers
        )


async def test_a_caller_keeps_a_side_while_a_test_runs() -> None:
    async with world() as there, client_of(there) as http:
        await http.get("/forecasts?ids=bitcoin")
        forecasts = [call for call in there.forecast.script.calls if hasattr(call, "client_key")]
        assert [call.client_key for call in forecasts] == [""]


async def test_an_open_gateway_is_no_open_door_to_other_sites() -> None:
    as_json, promote = {"content-type": "application/json"}, {"version": "v000001"}
    async with world(admin_token="s3cret-token") as there, client_of(there) as http:
        assert (await http.get("/prices?ids=bitcoin")).headers["x-content-type-options"] == "nosniff"
        for _ in range(2):  # rendered, and from the cache
            rebound = await http.get("/prices?ids=bitcoin", headers={"host": "evil.example"})
            assert (rebound.status_code, rebound.json()["field"]) == (403, "Host")
        foreign = await http.post(
            "/training/jobs", json={}, headers={"origin": "https://evil.example", **as_json}
        )
        assert (foreign.status_code, foreign.json()["field"]) == (403, "Origin")
        for media_type in ("", "text/plain", "application/x-www-form-urlencoded"):
            typed = {"content-type": media_type} if media_type else {}
            for body in (b"", b"{}"):
                posted = await http.post("/training/jobs", content=body, headers=typed)
                assert (posted.status_code, posted.json()["field"]) == (415, "Content-Type")
        assert (await http.post("/training/jobs", json={})).status_code == 422
        assert (await http.post("/models/lightgbm/promote", json=promote)).status_code == 401
        wrong = {"x-api-key": "guess"}
        assert (await http.post("/models/lightgbm/promote", json=promote, headers=wrong)).status_code in (
            401,
            503,
        )
        token = {"x-api-key": "s3cret-token"}
        done = await http.post("/models/lightgbm/promote", json=promote, headers=token)
        assert done.status_code == 200
        assert there.training.script.requested(tr.PromoteVersionRequest).requested_by == "admin-token"


async def test_usage_is_counted_by_key_and_a_month_is_limited(valkey: RunningValkey) -> None:
    reader = {"x-api-key": await made(valkey.url, "reader", "read", per_month=4)}
    admin = {"x-api-key": await made(valkey.url, "boss", "admin")}
    await made(valkey.url, "unused", "read", per_month=9)
    sent = 0
    async with (
        world(redis_url=valkey.url, require_keys=True) as there,
        httpx2.AsyncClient(base_url=there.url, headers={"accept-encoding": "identity"}) as http,
    ):
        for path in ("/prices?ids=bitcoin,ethereum", "/prices?ids=bitcoin,ethereum", "/prices?ids=nocoin"):
            reply = await http.get(path, headers=reader)
            sent += len(reply.content)
        mine = (await http.get("/usage", headers=reader)).json()["keys"]
        assert [(each["name"], each["month_calls"], each["month_limit"]) for each in mine] == [
            ("reader", 3, 4)
        ]
        (today,) = mine[0]["days"]
        assert (today["calls"], today["rows"], today["bytes"]) == (3, 4, sent)
        # Reading the usage does not count.
        assert (await http.get("/prices?ids=bitcoin", headers=reader)).status_code == 200
        for path in ("/prices?ids=bitcoin", "/prices?ids=bitcoin,ethereum", "/usages", "/models"):
            refused = await http.get(path, headers=reader)
            assert (refused.status_code, refused.json()["type"]) == (429, "/problems/rate-limited"), path
            assert "4 calls of this calendar month" in refused.json()["detail"]
            assert int(refused.headers["retry-after"]) > 0
            assert "GET /usage" in refused.json()["detail"]
            assert "ratelimit" in refused.headers
        # A key whose month is used up can still see why, in each spelling of the path.
        for path in ("/usage", "/usage/", "/usage?days=3"):
            seen = await http.get(path, headers=reader)
            assert seen.status_code == 200, seen.text
            assert [(each["month_calls"], each["month_limit"]) for each in seen.json()["keys"]] == [(4, 4)]
        await http.get("/prices?ids=bitcoin", headers=admin)
        everyone = (await http.get("/usage?days=1", headers=admin)).json()["keys"]
        # A key that has made no call is named as well, and each with its limit.
        assert [(each["name"], each["month_calls"], each["month_limit"]) for each in everyone] == [
            ("boss", 1, None),
            ("reader", 4, 4),
            ("unused", 0, 9),
        ]
    async with (
        world(redis_url=valkey.url, require_keys=True) as there,
        client_of(there) as http,
    ):
        # Another process learns of the month from Redis.
        async with asyncio.timeout(20):
            while (await http.get("/prices?ids=bitcoin", headers=reader)).status_code != 429:  # noqa: ASYNC110 - HTTP has no event
                await asyncio.sleep(0.2)


@pytest.mark.parametrize(
    ("path", "rows"),
    [
        ("/coins/bitcoin/history?days=5", 5),
        ("/coins/bitcoin/history?days=5&format=csv", 5),
        ("/coins/bitcoin/history?days=5&format=parquet", 5),
        ("/coins/bitcoin/history?days=5&format=arrow", 5),
        ("/export/histories?ids=bitcoin,ethereum&days=5", 10),
        ("/export/histories?ids=bitcoin,ethereum&days=5&format=csv", 10),
        ("/export/ledger?format=arrow", 3),
        ("/forecasts/scenarios?ids=bitcoin&days=3&paths=20&format=csv", 60),
        ("/api/v3/coins/list", 2),
        ("/coins/nocoin/history", 0),
        ("/health/live", 0),
    ],
)
async def test_rows_are_counted_in_every_format(valkey: RunningValkey, path: str, rows: int) -> None:
    key = {"x-api-key": await made(valkey.url, "reader", "read")}
    async with (
        world(redis_url=valkey.url, require_keys=True) as there,
        httpx2.AsyncClient(base_url=there.url, headers=key) as http,
    ):
        there.market.documents["coins/list"] = [{"id": "bitcoin"}, {"id": "ethereum"}]
        sent = len((await http.get(path)).content)
        # The second reply may come from the cache.
        sent += len((await http.get(path)).content)
        (mine,) = (await http.get("/usage")).json()["keys"]
        assert (mine["days"][0]["calls"], mine["days"][0]["rows"]) == (2, 2 * rows), path
        assert mine["days"][0]["bytes"] > 0 or not sent


async def test_usage_never_fails_a_reply(valkey: RunningValkey) -> None:
    key = {"x-api-key": await made(valkey.url, "reader", "read")}
    async with (
        world(redis_url=valkey.url, require_keys=True) as there,
        client_of(there) as http,
    ):
        assert (await http.get("/prices?ids=bitcoin", headers=key)).status_code == 200
        valkey.kill()
        assert (await http.get("/prices?ids=bitcoin", headers=key)).status_code == 200
        report = (await http.get("/usage", headers=key)).json()["keys"]
        assert [each["name"] for each in report] == ["reader"]
