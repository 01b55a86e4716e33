"""Touch, portfolio and scenarios over REST: shapes, partial failures, bounds and bad input."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import jsonschema
import pytest

from tests.contract.gateway.fakes import World, client_of, world


@pytest.fixture
async def there() -> AsyncIterator[World]:
    async with world() as one:
        yield one


@pytest.fixture
async def http(there: World) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(there) as client:
        yield client


REQUESTS: list[tuple[str, str, Any]] = [
    ("GET", "/forecasts/touch?ids=bitcoin,nothing&level=40000,-5%25&days=3", None),
    ("GET", "/forecasts/scenarios?ids=bitcoin,nothing&days=3&paths=4", None),
    (
        "POST",
        "/risk/portfolio",
        {
            "holdings": [{"id": "bitcoin", "value": 100}, {"id": "nothing", "amount": -1}],
            "days": 1,
            "levels": [95, 99.9],
        },
    ),
]


@pytest.mark.parametrize(("method", "path", "body"), REQUESTS)
async def test_replies_are_as_described_and_name_what_they_leave_out(
    http: httpx2.AsyncClient, method: str, path: str, body: Any
) -> None:
    reply = await http.request(method, path, json=body)
    assert reply.status_code == 200, reply.text
    document = (await http.get("/openapi.json")).json()
    operation = document["paths"][path.partition("?")[0]][method.lower()]
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    jsonschema.validate(reply.json(), {**schema, "components": document["components"]})
    [error] = reply.json()["errors"]
    assert (error["id"], error["kind"], error["field"]) == ("nothing", "not_found", "ids")
    basis = reply.json()["basis"]
    assert basis["scenarios"] == 1000
    assert basis["recorded"]
    assert basis["live_sentence"].startswith("Of 40 such statements")
    [record] = basis["live_records"]
    assert (record["statements"], record["observed_percent"], record["level_percent"]) == (40, 52.5, None)


async def test_levels_are_prices_or_percents(there: World, http: httpx2.AsyncClient) -> None:
    reply = await http.get(
        "/forecasts/touch", params={"ids": "bitcoin", "level": "40000,-5%, +2.5%", "days": 2}
    )
    levels = reply.json()["coins"][0]["levels"]
    assert [(level["price"], level["percent"]) for level in levels[:1]] == [(40_000.0, 0.0)]
    assert [level["percent"] for level in levels[1:]] == [-5.0, 2.5]
    assert [day["horizon_days"] for day in levels[0]["days"]] == [1, 2]


async def test_paths_are_lists_by_coin_path_and_day(http: httpx2.AsyncClient) -> None:
    reply = (await http.get("/forecasts/scenarios?ids=bitcoin&days=3&paths=4")).json()
    [coin] = reply["coins"]
    assert [len(path) for path in coin["closes"]] == [3] * 4
    assert coin["closes"][1][0] == 37_003.0
    assert len(reply["dates"]) == 3
    assert len(reply["origin_dates"]) == 4


@pytest.mark.parametrize(
    ("path", "rows", "columns"),
    [
        ("/forecasts/touch?ids=bitcoin&level=5%25,-5%25&days=3", 6, {"level_price", "touch_probability"}),
        ("/forecasts/scenarios?ids=bitcoin&days=3&paths=4", 12, {"path", "date", "close", "high", "low"}),
    ],
)
async def test_tables_as_csv(http: httpx2.AsyncClient, path: str, rows: int, columns: set[str]) -> None:
    reply = await http.get(path, headers={"accept": "text/csv"})
    comment, _, table = reply.text.partition("\n")
    assert comment.startswith("# version=coincast ")
    found = list(csv.DictReader(io.StringIO(table)))
    assert len(found) == rows
    assert columns <= set(found[0])


@pytest.mark.parametrize(
    ("as_of", "moment"),
    [
        ("2023-11-09", "2023-11-10T00:00:00Z"),
        ("2023-11-09T14:59:00Z", "2023-11-09T14:00:00Z"),
        ("2023-11-09T16:59:00+02:00", "2023-11-09T14:00:00Z"),
    ],
)
@pytest.mark.parametrize("sent", REQUESTS)
async def test_answers_of_a_past_moment_say_so(
    http: httpx2.AsyncClient, sent: tuple[str, str, Any], as_of: str, moment: str
) -> None:
    method, path, body = sent
    if body is None:
        reply = await http.get(
            path, params={**dict(httpx2.QueryParams(path.partition("?")[2])), "as_of": as_of}
        )
    else:
        reply = await http.request(method, path, json={**body, "as_of": as_of})
    assert reply.status_code == 200, reply.text
    basis = reply.json()["basis"]
    assert (basis["as_of"], basis["reconstructed"], basis["recorded"]) == (moment, True, False)
    assert not basis["live_records"] and not basis["live_sentence"]


@pytest.mark.parametrize(("method", "path", "body"), REQUESTS)
async def test_no_coin_at_all_is_a_problem(
    http: httpx2.AsyncClient, method: str, path: str, body: Any
) -> None:
    alone = path.replace("bitcoin,", "")
    if body is not None:
        body = {**body, "holdings": body["holdings"][1:]}
    reply = await http.request(method, alone, json=body)
    assert reply.status_code == 404
    assert reply.headers["content-type"] == "application/problem+json"


BAD = [
    ("/forecasts/touch?ids=bitcoin", "level"),
    *[
        (f"/forecasts/touch?ids=bitcoin&level={level}", "level")
        for level in ("0", "-5", "-100%25", "abc", "nan", "1e99", "5%25%25", ",", "1,2,3,4,5,6,7,8,9,10,11")
    ],
    ("/forecasts/touch?ids=bitcoin&level=5%25&days=15", "days"),
    ("/forecasts/touch?ids=bitcoin&level=5%25&days=0", "days"),
    ("/forecasts/touch?ids=bitcoin&level=5%25&model=oracle", "model"),
    *[
        (f"/forecasts/{path}&as_of={as_of}", "as_of")
        for path in ("touch?ids=bitcoin&level=5%25", "scenarios?ids=bitcoin")
        for as_of in ("yesterday", "20231109", "2023-13-01", "")
    ],
    ("/forecasts/scenarios?days=3", "ids"),
    ("/forecasts/scenarios?ids=bitcoin&paths=1001", "paths"),
    ("/forecasts/scenarios?ids=" + ",".join(f"c{i}" for i in range(250)) + "&days=14&paths=1000", "paths"),
]


@pytest.mark.parametrize(("path", "field"), BAD)
async def test_bad_queries_name_the_field(http: httpx2.AsyncClient, path: str, field: str) -> None:
    reply = await http.get(path)
    assert reply.status_code == 422, reply.text
    assert reply.json()["field"] == field


BAD_BODIES: list[Any] = [
    {},
    {"holdings": []},
    {"holdings": [{"id": "bitcoin"}]},
    {"holdings": [{"id": "bitcoin", "value": 0}]},
    {"holdings": [{"id": "bitcoin", "value": 1, "amount": 1}]},
    {"holdings": [{"id": "bitcoin", "value": "1e999"}]},
    {"holdings": [{"id": "Bit coin", "value": 1}]},
    {"holdings": [{"id": "bitcoin", "value": 1}], "days": 15},
    {"holdings": [{"id": "bitcoin", "value": 1}], "levels": [49]},
    {"holdings": [{"id": "bitcoin", "value": 1}], "levels": []},
    {"holdings": [{"id": "bitcoin", "value": 1}], "colour": "red"},
]


@pytest.mark.parametrize("body", BAD_BODIES)
async def test_bad_bodies_are_refused(http: httpx2.AsyncClient, body: Any) -> None:
    reply = await http.post("/risk/portfolio", json=body)
    assert reply.status_code == 422, reply.text
    assert reply.json()["field"]
