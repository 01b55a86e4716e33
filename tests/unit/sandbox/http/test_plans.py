"""Plans: keys, reach of history, limits and what only paid plans have."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

from coincast_sandbox.app import SandboxOptions
from coincast_sandbox.http.errors import ApiError
from coincast_sandbox.http.plans import PLANS, ApiPlan
from coincast_sandbox.http.rate_limit import RateLimiter
from coincast_sandbox.testing import RunningSandbox, running_sandbox

DAY = 86400.0
PRO = {"x-cg-pro-api-key": "good"}
DEMO = {"x-cg-demo-api-key": "good"}


@pytest.mark.parametrize(
    ("plan", "header", "status", "code"),
    [
        ("keyless", {}, None, None),
        ("keyless", DEMO, None, None),
        ("keyless", PRO, 400, 10010),
        ("demo", {}, 401, 10002),
        ("demo", DEMO, None, None),
        ("demo", {"x-cg-demo-api-key": "bad"}, 401, 10002),
        ("demo", PRO, 400, 10010),
        *((paid, DEMO, 400, 10011) for paid in ("basic", "analyst", "lite", "pro")),
        *((paid, PRO, None, None) for paid in ("basic", "analyst", "lite", "pro")),
        *((paid, {}, 401, 10002) for paid in ("basic", "analyst", "lite", "pro")),
    ],
)
def test_each_plan_has_its_key(
    plan: str, header: dict[str, str], status: int | None, code: int | None
) -> None:
    chosen = ApiPlan(plan, frozenset({"good"}))
    if status is None:
        chosen.check_key(header, {})
        return
    with pytest.raises(ApiError) as caught:
        chosen.check_key(header, {})
    assert (caught.value.status, caught.value.code) == (status, code)


@pytest.mark.parametrize(
    ("plan", "days"),
    [("keyless", 365), ("demo", 365), ("basic", 730), ("analyst", 0), ("lite", 0), ("pro", 0)],
)
def test_each_plan_has_its_reach(plan: str, days: int) -> None:
    now = 20_000 * DAY
    ApiPlan(plan).check_reach(now - (days or 10_000) * DAY, now)
    if days:
        with pytest.raises(ApiError) as caught:
            ApiPlan(plan).check_reach(now - (days + 1) * DAY, now)
        assert (caught.value.status, caught.value.code) == (401, 10012)
        assert f"past {days} days" in caught.value.message


def test_refused_calls_count_in_the_minute_and_the_month() -> None:
    clock = [0.0]
    limiter = RateLimiter(2, lambda: clock[0], monthly_credits=6)
    limiter.acquire()
    limiter.acquire()
    clock[0] = 30.0
    with pytest.raises(ApiError, match="Rate Limit"):
        limiter.acquire()
    assert limiter.retry_after_seconds() == 31
    clock[0] = 61.0
    limiter.acquire()
    with pytest.raises(ApiError, match="Rate Limit"):
        limiter.acquire()
    clock[0] = 200.0
    limiter.acquire()
    with pytest.raises(ApiError, match="monthly"):
        limiter.acquire()
    assert limiter.used_credits == 7


@pytest.fixture(scope="module", params=["keyless", "basic"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[tuple[str, RunningSandbox]]:
    with running_sandbox(SandboxOptions(plan=ApiPlan(request.param))) as running:
        yield request.param, running


@pytest.mark.parametrize("path", ["/key", "/coins/bitcoin/ohlc?vs_currency=usd&days=30&interval=daily"])
def test_paid_operations_need_a_paid_plan(sandbox: tuple[str, RunningSandbox], path: str) -> None:
    plan, running = sandbox
    paid = PLANS[plan].paid
    reply = httpx2.get(running.base_url + path, headers=PRO if paid else {}, trust_env=False)
    assert reply.status_code == (200 if paid else 401)
    assert paid or reply.json()["status"]["error_code"] == 10005


def test_the_key_document_counts_down() -> None:
    options = SandboxOptions(plan=ApiPlan("basic"), rate_per_minute=250, monthly_credits=100_000)
    with running_sandbox(options) as running:
        found = [httpx2.get(running.base_url + "/key", headers=PRO, trust_env=False).json() for _ in range(2)]
    assert found[0]["plan"] == "Basic"
    assert found[0]["rate_limit_request_per_minute"] == 250
    left = [document["current_remaining_monthly_calls"] for document in found]
    assert left == [99_999, 99_998]
