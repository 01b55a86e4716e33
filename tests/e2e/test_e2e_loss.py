"""What stands when a process is killed, and that it comes back."""

import time
from collections.abc import Callable

import httpx2
import pytest

from coincast_stack.testing import StackHandle

Get = Callable[..., httpx2.Response]
# The first test of a session waits for the stack and its first model.
pytestmark = pytest.mark.timeout(600)
PRICES = "/prices?ids=bitcoin&vs_currencies=usd"
FORECAST = "/forecasts?ids=bitcoin&days=3&model=lightgbm"


class Waiting:
    """Asks again until the answer is good, or a process has died, or the time is up."""

    def __init__(self, stack: StackHandle, get: Get) -> None:
        self._stack = stack
        self._get = get

    def __call__(
        self, path: str, good: Callable[[httpx2.Response], bool], seconds: float = 60.0
    ) -> httpx2.Response:
        deadline = time.monotonic() + seconds
        while not good(reply := self._get(path)):
            self._stack.stack.raise_if_dead()
            assert time.monotonic() < deadline, f"{path} still gives {reply.status_code}: {reply.text[:500]}"
            time.sleep(0.2)
        return reply


@pytest.fixture
def wait_for(stack: StackHandle, get: Get) -> Waiting:
    stack.stack.raise_if_dead()
    return Waiting(stack, get)


def served_by_lightgbm(reply: httpx2.Response) -> bool:
    return reply.status_code == 200 and reply.json()["forecasts"][0]["served_by"] == "lightgbm"


def test_prices_outlive_the_forecast_service(stack: StackHandle, get: Get, wait_for: Waiting) -> None:
    stack.kill("forecast")
    assert get(PRICES).status_code == 200
    lost = get("/forecasts?ids=ethereum&days=5&model=lightgbm")
    assert lost.status_code in {503, 504}
    assert lost.headers["content-type"].startswith("application/problem+json")
    assert 1 <= int(lost.headers["retry-after"]) <= 60
    stack.restart("forecast")
    wait_for(FORECAST, served_by_lightgbm)


def test_forecasts_outlive_market_data(stack: StackHandle, get: Get, wait_for: Waiting) -> None:
    wait_for(FORECAST, served_by_lightgbm)
    stack.kill("market")
    kept = get("/forecasts?ids=bitcoin&days=4&model=lightgbm")
    assert kept.status_code == 200, kept.text
    assert kept.json()["forecasts"][0]["points"]
    stack.restart("market")
    # A question of its own: the gateway answers one that it knows before it has reached the service again.
    wait_for("/prices?ids=solana&vs_currencies=usd", lambda reply: reply.status_code == 200)


def test_everything_outlives_redis(stack: StackHandle, get: Get, wait_for: Waiting) -> None:
    stack.kill("redis")
    slowest = 0.0
    try:
        for currency in ("eur", "gbp", "jpy", "chf", "cad", "aud", "cny", "inr", "brl", "krw"):
            began = time.monotonic()
            reply = get(f"/prices?ids=solana&vs_currencies={currency}")
            slowest = max(slowest, time.monotonic() - began)
            assert reply.status_code == 200, reply.text
            assert reply.json()["errors"] == []
        print(f"slowest of 10 cold price calls without Redis: {slowest * 1000:.0f} ms")
        assert get("/forecasts?ids=bitcoin&days=6&model=lightgbm").status_code == 200
    finally:
        stack.restart("redis")
    wait_for(PRICES, lambda reply: reply.status_code == 200)


def test_a_new_version_is_picked_up_without_restart(stack: StackHandle, get: Get, wait_for: Waiting) -> None:
    pids = stack.pids()
    requested = httpx2.post(
        f"{stack.gateway_url}/training/jobs",
        json={"model": "lightgbm", "ids": ["bitcoin", "ethereum"], "days": 500, "promote_if_better": True},
        timeout=30,
        trust_env=False,
    )
    assert requested.status_code in {200, 201, 202}, requested.text
    job_id = requested.json()["job"]["job_id"]
    ended = {"succeeded", "failed", "cancelled", "interrupted"}
    job = wait_for(
        f"/training/jobs/{job_id}", lambda reply: reply.json()["job"]["state"] in ended, 150
    ).json()["job"]
    assert (job["state"], job["version"]) == ("succeeded", "v000002"), job
    promoted = httpx2.post(
        f"{stack.gateway_url}/models/lightgbm/promote",
        json={"version": "v000002", "force": True, "reason": "end-to-end test"},
        timeout=30,
        trust_env=False,
    )
    assert promoted.status_code == 200, promoted.text
    path = "/forecasts?ids=ethereum&days=2&model=lightgbm"
    wait_for(path, lambda r: r.status_code == 200 and r.json()["forecasts"][0]["version"] == "v000002")
    assert stack.pids() == pids
