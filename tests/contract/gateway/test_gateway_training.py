"""Training jobs, the registry and the live record over REST."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import pytest

from coincast.training.v1 import training_pb2 as tr
from tests.contract.gateway.fakes import World, world

AS_JSON = {"content-type": "application/json"}


@pytest.fixture
async def there() -> AsyncIterator[World]:
    async with world() as found:
        yield found


@pytest.fixture
async def http(there: World) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=there.url) as client:
        yield client


async def test_a_job_is_queued_once_an_idempotency_key(http: httpx2.AsyncClient) -> None:
    body = {"model": "lightgbm", "ids": ["bitcoin"], "days": 365}
    first = await http.post("/training/jobs", json=body, headers={"Idempotency-Key": "k1"})
    again = await http.post("/training/jobs", json=body, headers={"Idempotency-Key": "k1"})
    assert first.status_code == again.status_code == 202
    assert first.json()["job"]["job_id"] == again.json()["job"]["job_id"]
    assert first.json()["job"]["state"] == "queued"
    job_id = first.json()["job"]["job_id"]
    assert (await http.get(f"/training/jobs/{job_id}/logs")).json() == {"lines": ["fitting"]}
    assert (await http.delete(f"/training/jobs/{job_id}")).json()["job"]["state"] == "cancelled"
    assert len((await http.get("/training/jobs")).json()["jobs"]) == 1


async def test_the_same_idempotency_key_with_another_body_is_422(http: httpx2.AsyncClient) -> None:
    body = {"model": "lightgbm", "ids": ["bitcoin"], "days": 365}
    key = {"Idempotency-Key": "k1"}
    assert (await http.post("/training/jobs", json=body, headers=key)).status_code == 202
    for changed in (
        {"days": 400},
        {"ids": ["ethereum"]},
        {"model": "ml_ensemble"},
        {"promote_if_better": True},
    ):
        refused = await http.post("/training/jobs", json=body | changed, headers=key)
        assert (refused.status_code, refused.json()["field"]) == (422, "Idempotency-Key"), changed
    assert (await http.post("/training/jobs", json=body, headers=key)).status_code == 202


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"model": "lightgbm"}, "ids"),
        ({"model": "gpt", "ids": ["bitcoin"]}, "model"),
        ({"model": "lightgbm", "ids": []}, "ids"),
        ({"model": "lightgbm", "ids": ["bitcoin"], "days": "365"}, "days"),
        ({"model": "lightgbm", "ids": ["bitcoin"], "extra": 1}, "extra"),
    ],
)
async def test_a_bad_body_names_the_field(
    http: httpx2.AsyncClient, body: dict[str, object], field: str
) -> None:
    reply = await http.post("/training/jobs", json=body)
    assert reply.status_code == 422
    assert reply.json()["field"] == field


async def test_a_body_that_is_not_json(http: httpx2.AsyncClient) -> None:
    as_json = {"content-type": "application/json"}
    assert (await http.post("/training/jobs", content=b"{", headers=as_json)).status_code == 422
    assert (await http.post("/training/jobs", content=b"[]", headers=as_json)).status_code == 422
    assert (await http.post("/training/jobs", content=b"a=1")).status_code == 415


async def test_promotion_and_its_conflict(http: httpx2.AsyncClient, there: World) -> None:
    done = await http.post("/models/lightgbm/promote", json={"version": "v000001", "expected_revision": 3})
    assert done.json()["table"]["revision"] == 3
    assert there.training.script.requested(tr.PromoteVersionRequest).requested_by == "anonymous"
    moved = await http.post("/models/lightgbm/promote", json={"version": "v000001", "expected_revision": 2})
    assert moved.status_code == 409
    assert moved.json()["field"] == "expected_revision"
    assert (await http.post("/models/lightgbm/rollback", headers=AS_JSON)).status_code == 200


async def test_retiring_and_cleaning_are_requested_by_name(http: httpx2.AsyncClient, there: World) -> None:
    in_use = await http.post("/models/lightgbm/retire", json={"version": "v000001", "reason": "old"})
    assert (in_use.status_code, in_use.json()["field"]) == (409, "version")
    assert (await http.post("/models/lightgbm/retire", json={"version": "v000009"})).status_code == 422
    cleaned = await http.post("/models/lightgbm/clean", json={"keep": 3})
    assert cleaned.json()["removed"] == ["v000000"]
    requested = there.training.script.requested(tr.CleanVersionsRequest)
    assert (requested.keep, requested.requested_by) == (3, "anonymous")
    assert (await http.post("/models/lightgbm/clean", headers=AS_JSON)).status_code == 200


async def test_a_submission_without_a_key_gets_one_that_a_repeated_call_would_carry(
    http: httpx2.AsyncClient, there: World
) -> None:
    body = {"model": "lightgbm", "ids": ["bitcoin"]}
    for _ in range(2):
        assert (await http.post("/training/jobs", json=body)).status_code == 202
    keys = {call.idempotency_key for call in there.training.script.calls if hasattr(call, "idempotency_key")}
    assert len(keys) == 2
    assert all(len(key) == 32 for key in keys)


async def test_lists_comparison_audit_and_accuracy(http: httpx2.AsyncClient) -> None:
    assert (await http.get("/models")).json()["versions"][0]["version"] == "v000001"
    compared = await http.get("/models/lightgbm/compare", params={"a": "v000001", "b": "v000001"})
    assert compared.json()["verdict"]
    assert (await http.get("/models/audit")).json()["entries"][0]["action"] == "promote"
    live = (await http.get("/forecasts/accuracy")).json()["live"][0]
    assert live["horizon"]["forecasts"] == 12
    assert live["horizon"]["coverage_80_percent"] is None
    assert live["origin_hour"] is None
    (origin,) = (await http.get("/forecasts/accuracy?model=intraday")).json()["by_origin_hour"]
    assert (origin["origin_hour"], origin["horizon"]["horizon_hours"]) == (13, 6)
    (touched,) = (await http.get("/forecasts/accuracy")).json()["risk"]
    assert (touched["kind"], touched["probability_from"], touched["probability_to"]) == ("touch", 0.0, 1.0)
    assert (touched["served_by"], touched["level_percent"], touched["brier"]) == ("", None, None)


async def test_the_hourly_model_is_compared_promoted_and_rolled_back(http: httpx2.AsyncClient) -> None:
    assert (await http.get("/models?model=intraday")).status_code == 200
    compared = await http.get("/models/intraday/compare", params={"a": "v000001", "b": "v000001"})
    assert compared.status_code == 200
    promoted = await http.post("/models/intraday/promote", json={"version": "v000001"})
    assert promoted.status_code == 200
    assert (await http.post("/models/intraday/rollback", json={"reason": "test"})).status_code == 200
