"""The proxy passes replies on without a trace of the sandbox, and counts each call."""

from __future__ import annotations

import httpx2
import pytest

from coincast_sandbox.testing import RunningSandbox, running_sandbox
from coincast_stack.rehearsal.proxy import busiest_minute, filtering_proxy


def port_of(sandbox: RunningSandbox) -> int:
    return int(sandbox.root_url.rpartition(":")[2])


@pytest.mark.slow
def test_the_reply_is_the_sandboxs_without_its_headers() -> None:
    path = "/coins/markets?vs_currency=usd&ids=bitcoin,ethereum"
    with (
        running_sandbox() as sandbox,
        filtering_proxy(port_of(sandbox)) as proxy,
        httpx2.Client(trust_env=False) as client,
    ):
        direct = client.get(sandbox.base_url + path)
        hidden = client.get(proxy.base_url + path)
        unknown = client.get(proxy.base_url + "/coins/no-such-coin")
    assert direct.headers["x-coincast-sandbox"] == "1"
    assert not [name for name in hidden.headers if name.startswith("x-coincast")]
    assert [row["id"] for row in hidden.json()] == [row["id"] for row in direct.json()]
    assert hidden.headers["total"] == direct.headers["total"]
    assert (hidden.status_code, unknown.status_code) == (200, 404)
    assert [(call.path, call.status) for call in proxy.calls] == [
        ("/api/v3/coins/markets", 200),
        ("/api/v3/coins/no-such-coin", 404),
    ]


@pytest.mark.slow
def test_the_key_passes() -> None:
    with running_sandbox() as sandbox, filtering_proxy(port_of(sandbox)) as proxy:
        reply = httpx2.get(proxy.base_url + "/global", headers={"x-cg-pro-api-key": "k"}, trust_env=False)
    assert (reply.status_code, "10010" in reply.text) == (400, True), "a key of the other host is refused"


@pytest.mark.slow
def test_a_sandbox_that_is_gone_is_a_broken_connection() -> None:
    with running_sandbox() as sandbox:
        port = port_of(sandbox)
    with filtering_proxy(port) as proxy, pytest.raises(httpx2.HTTPError):
        httpx2.get(proxy.base_url + "/ping", trust_env=False)
    assert [call.status for call in proxy.calls] == [0]


@pytest.mark.parametrize(
    ("moments", "most"),
    [([], 0), ([5.0], 1), ([0.0, 59.9, 60.0], 2), ([0.0, 1.0, 59.9], 3), ([100.0, 0.0, 30.0, 70.0], 2)],
)
def test_busiest_minute(moments: list[float], most: int) -> None:
    assert busiest_minute(moments) == most
