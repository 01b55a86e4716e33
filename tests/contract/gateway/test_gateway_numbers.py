"""Numbers, times and lists in the JSON of every route: one precision, one form, one shape."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from coincast_chassis.json_numbers import round_number
from tests.contract.gateway.fakes import world
from tests.contract.gateway.test_gateway_errors import ASKS, SENDS

RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z")
HEALTH = {
    "health": "/health",
    "health_ready": "/health/ready",
    "health_detailed": "/health/detailed",
    "health_trends": "/health/trends?hours=1",
    "health_component": "/health/components/gateway",
}
# Their replies are no JSON documents.
OTHER_FORMS = {"prices_stream", "job_events", "export_histories", "export_ledger"}
# Fields that hold a moment by their names; days are dates.
MOMENT = re.compile(r"(_at|^at|^as_of|known_at)$")
# Fields that name a moment and hold a count or a day.
NOT_MOMENTS = {"deployed_at_revision"}


def leaves(value: Any, name: str = "", path: str = "") -> Iterator[tuple[str, str, Any]]:
    """Yield (path, name of the field, value) of every scalar; items of a list have the name of their list."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from leaves(each, key, f"{path}.{key}")
    elif isinstance(value, list):
        for each in value:
            yield from leaves(each, name, f"{path}[]")
    else:
        yield path, name, value


@pytest.mark.parametrize("operation", sorted({*ASKS, *HEALTH} - OTHER_FORMS))
async def test_numbers_times_and_lists_of_each_route(operation: str) -> None:
    async with world() as there, httpx2.AsyncClient(base_url=there.url, timeout=60) as http:
        queued = await http.post("/training/jobs", json=SENDS["submit_job"][2])
        path = {**ASKS, **HEALTH}[operation].replace("/j1", f"/{queued.json()['job']['job_id']}")
        reply = await http.get(path)
    assert reply.status_code == 200, reply.text
    check(reply.json())


async def test_numbers_times_and_lists_of_each_change() -> None:
    async with world() as there, httpx2.AsyncClient(base_url=there.url, timeout=60) as http:
        for operation, (method, path, body) in SENDS.items():
            reply = await http.request(method, path, json=body)
            assert reply.status_code < 500, (operation, reply.text)
            check(reply.json())


def check(document: dict[str, Any]) -> None:
    for path, name, value in leaves(document):
        if isinstance(value, float):
            assert value == round_number(name, value), path
        if MOMENT.search(name) and name not in NOT_MOMENTS and value is not None:
            assert isinstance(value, str), path
            assert RFC_3339.fullmatch(value), (path, value)
        assert not (name.endswith(("ids", "coins")) and isinstance(value, str) and "," in value), path


@pytest.mark.parametrize(
    ("path", "new", "old"),
    [("/forecasts/explain", "ids", "id"), ("/forecasts/accuracy", "ids", "id")],
)
async def test_old_names_of_parameters_go_on_working(path: str, new: str, old: str) -> None:
    async with world() as there, httpx2.AsyncClient(base_url=there.url, timeout=60) as http:
        replies = [await http.get(path, params={name: "bitcoin"}) for name in (new, old)]
        assert [reply.status_code for reply in replies] == [200, 200]
        both = await http.get(path, params={new: "bitcoin", old: "bitcoin"})
        assert (both.status_code, both.json()["field"]) == (422, new)
        wrong = await http.get(path, params={old: "/"})
        assert (wrong.status_code, wrong.json()["field"]) == (422, new)
        described = (await http.get("/openapi.json")).json()["paths"][path]["get"]["parameters"]
        names = {each["name"] for each in described}
        assert new in names
        assert old not in names


async def test_test_coins_are_a_list() -> None:
    async with world() as there, httpx2.AsyncClient(base_url=there.url, timeout=60) as http:
        forecast = (await http.get("/forecasts?ids=bitcoin")).json()["forecasts"][0]
        assert forecast["record"]["test_coins"] == ["bitcoin"]
        models = (await http.get("/forecasts/models")).json()["models"]
        assert all(isinstance(each["record"]["test_coins"], list) for each in models if each["record"])
