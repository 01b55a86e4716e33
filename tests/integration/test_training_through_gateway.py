"""Training as a user of the gateway meets it: a real job, its events while it runs, one job a model, cancel,
logs, the registry.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.contract.valkey_harness import running_valkey
from tests.integration.training_rig import COINS, DAYS, first_day, through_gateway, training_service
from tests.unit.training.training_fakes import panel_of
from tests.unit.training.training_market import PanelMarket, market_service

pytestmark = pytest.mark.timeout(400)
JOB = {"model": "lightgbm", "ids": [COINS[0]], "days": 150}


@pytest.fixture
def redis_url() -> Iterator[str]:
    with running_valkey() as server:
        yield server.url


@pytest.fixture
async def http(tmp_path: Path, redis_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    market = PanelMarket(panel_of(COINS, days=DAYS, first=first_day()))
    async with (
        market_service(market) as market_address,
        training_service(tmp_path, redis_url, market_address) as training,
        through_gateway(market_address, training) as client,
    ):
        yield client


async def submitted(http: httpx2.AsyncClient, **headers: str) -> dict[str, Any]:
    """A job, once the queue is loaded."""
    for _ in range(200):
        reply = await http.post("/training/jobs", json=JOB, headers=headers)
        if reply.status_code != 503:
            break
        await asyncio.sleep(0.1)
    assert reply.status_code == 202, reply.text
    return dict(reply.json()["job"])


async def events(http: httpx2.AsyncClient, job_id: str) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Name of each event and the job that it tells of, as they come."""
    name = ""
    async with http.stream("GET", f"/training/jobs/{job_id}/events") as reply:
        assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
        async for line in reply.aiter_lines():
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                yield name, json.loads(value)["job"]


async def state_of(http: httpx2.AsyncClient, job_id: str) -> str:
    return str((await http.get(f"/training/jobs/{job_id}")).json()["job"]["state"])


async def test_events_of_a_real_job_come_while_it_runs_and_one_job_of_a_model_runs_at_a_time(
    http: httpx2.AsyncClient,
) -> None:
    first = await submitted(http, **{"Idempotency-Key": "first"})
    second = await submitted(http)
    assert (await submitted(http, **{"Idempotency-Key": "first"}))["job_id"] == first["job_id"]
    received: list[tuple[str, dict[str, Any]]] = []
    running_both = 0
    async for name, job in events(http, first["job_id"]):
        received.append((name, job))
        if name == "progress" and job["state"] == "running":
            now = [await state_of(http, each["job_id"]) for each in (first, second)]
            running_both += now == ["running", "running"]
    while_running = [job for name, job in received if name == "progress" and job["state"] == "running"]
    fractions = [job["progress"] for job in while_running]
    assert len({job["stage"] for job in while_running}) >= 3, received
    assert fractions == sorted(fractions)
    assert 0 < max(fractions) <= 1
    assert running_both == 0
    assert [name for name, _ in received].count("ended") == 1
    name, last = received[-1]
    assert (name, last["state"], last["version"], last["progress"]) == ("ended", "succeeded", "v000001", 1.0)
    versions = (await http.get("/models", params={"model": "lightgbm"})).json()["versions"]
    assert [version["version"] for version in versions][-1] == "v000001"
    await http.delete(f"/training/jobs/{second['job_id']}")


async def test_cancel_ends_a_running_job_and_its_events_say_so(http: httpx2.AsyncClient) -> None:
    job = await submitted(http)
    names: list[str] = []
    async for name, seen in events(http, job["job_id"]):
        names.append(name)
        if name == "progress" and seen["state"] == "running" and names.count("progress") == 1:
            cancelled = await http.delete(f"/training/jobs/{job['job_id']}")
            assert cancelled.json()["job"]["state"] == "cancelled"
    assert (names[-1], seen["state"], seen["version"]) == ("ended", "cancelled", "")
    assert (await http.get("/models", params={"model": "lightgbm"})).json()["versions"] == []
    again = [event async for event in events(http, job["job_id"])]
    assert [(name, ended["state"]) for name, ended in again] == [("ended", "cancelled")]


async def test_what_a_job_may_not_ask_and_what_it_logged(http: httpx2.AsyncClient) -> None:
    job = await submitted(http)
    short = await http.post("/training/jobs", json=JOB | {"days": 20})
    assert (short.status_code, short.json()["field"]) == (400, "days")
    assert "90 to 10000" in short.json()["detail"]
    unknown = await http.post("/training/jobs", json=JOB | {"ids": ["no-such-coin"]})
    failed = [event async for event in events(http, unknown.json()["job"]["job_id"])][-1][1]
    assert (failed["state"], "No no-such-coin" in failed["error"]) == ("failed", True)
    lines = (await http.get(f"/training/jobs/{unknown.json()['job']['job_id']}/logs")).json()["lines"]
    assert any("coin_left_out" in line and "no-such-coin" in line for line in lines)
    assert await state_of(http, job["job_id"]) == "succeeded"


async def test_old_versions_are_cleaned_and_no_alias_is_touched(http: httpx2.AsyncClient) -> None:
    made = []
    for _ in range(3):
        job = await submitted(http)
        made.append([event async for event in events(http, job["job_id"])][-1][1]["version"])
    first, second, third = made
    move = {"version": first, "force": True, "reason": "a test"}
    assert (await http.post("/models/lightgbm/promote", json=move)).status_code == 200
    used = await http.post("/models/lightgbm/retire", json={"version": first, "reason": "a test"})
    assert (used.status_code, used.json()["type"]) == (409, "/problems/conflict")
    cleaned = (await http.post("/models/lightgbm/clean", json={"keep": 1})).json()
    assert (cleaned["removed"], cleaned["table"]["production_version"]) == ([second], first)
    left = (await http.get("/models", params={"model": "lightgbm"})).json()["versions"]
    assert sorted(version["version"] for version in left) == [first, third]
    compared = await http.get("/models/lightgbm/compare", params={"a": first, "b": third})
    assert "is not significant" in compared.json()["verdict"]
    actions = [entry["action"] for entry in (await http.get("/models/audit")).json()["entries"]]
    assert actions == ["clean", "promote"]
