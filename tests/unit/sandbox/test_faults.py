"""Each fault of the sandbox does on the wire what its name says."""

import socket
import time
from collections.abc import Iterator

import httpx2
import pytest

from coincast_sandbox.testing import RunningSandbox, running_sandbox

CHART = "/coins/bitcoin/market_chart?vs_currency=usd&days=30"


@pytest.fixture(scope="module")
def shared() -> Iterator[RunningSandbox]:
    with running_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared: RunningSandbox) -> RunningSandbox:
    shared.clear_faults()
    return shared


def get(sandbox: RunningSandbox, path: str = "/ping", timeout: float = 5.0) -> httpx2.Response:
    return httpx2.get(sandbox.base_url + path, timeout=timeout, trust_env=False, follow_redirects=False)


@pytest.mark.parametrize("body", range(1, 7))
def test_all_six_error_bodies(sandbox: RunningSandbox, body: int) -> None:
    sandbox.add_fault("status", "/ping", status=503, body=body, times=1)
    reply = get(sandbox)
    assert reply.status_code == 503
    assert reply.headers["x-coincast-sandbox"] == "1"
    if body <= 4:
        assert "error" in reply.text
        assert reply.json()
    assert get(sandbox).status_code == 200, "times=1 strikes once"


@pytest.mark.parametrize("wait", ["7", "Mon, 01 Jan 2035 00:00:00 GMT", "-1", "99999999999", "soon"])
def test_retry_after_is_sent_word_for_word(sandbox: RunningSandbox, wait: str) -> None:
    sandbox.add_fault("status", status=429, retry_after=wait)
    reply = get(sandbox)
    assert (reply.status_code, reply.headers["retry-after"]) == (429, wait)


def test_paths_are_globs_and_shares_are_kept(sandbox: RunningSandbox) -> None:
    sandbox.add_fault("status", "/coins/*", status=500)
    assert get(sandbox, "/coins/list").status_code == 500
    assert get(sandbox).status_code == 200
    sandbox.clear_faults()
    sandbox.add_fault("status", "/ping", status=500, share=0.3)
    failed = sum(get(sandbox).status_code == 500 for _ in range(100))
    assert 12 <= failed <= 50


def test_latency_and_drip(sandbox: RunningSandbox) -> None:
    sandbox.add_fault("latency", "/ping", seconds=0.3, times=1)
    began = time.monotonic()
    get(sandbox)
    assert time.monotonic() - began >= 0.3
    sandbox.add_fault("drip", "/ping", seconds_per_chunk=0.02, chunk_bytes=2, times=1)
    began = time.monotonic()
    assert get(sandbox).json() == {"gecko_says": "(V3) To the Moon!"}
    assert time.monotonic() - began >= 17 * 0.02


@pytest.mark.parametrize("after_bytes", [0, 100])
def test_a_reset_is_a_reset(sandbox: RunningSandbox, after_bytes: int) -> None:
    sandbox.add_fault("reset", after_bytes=after_bytes)
    host, port = sandbox.root_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as sock:
        sock.sendall(b"GET /api/v3/coins/list HTTP/1.1\r\nHost: x\r\n\r\n")
        received = b""
        with pytest.raises(ConnectionResetError):
            while True:
                part = sock.recv(4096)
                assert part, "closed in an orderly way instead of reset"
                received += part
    assert bool(received) == bool(after_bytes)


def test_a_hang_hangs(sandbox: RunningSandbox) -> None:
    sandbox.add_fault("hang", times=1)
    with pytest.raises(httpx2.TimeoutException):
        get(sandbox, timeout=0.3)
    assert get(sandbox).status_code == 200


def test_malformed_json_is_cut(sandbox: RunningSandbox) -> None:
    sandbox.add_fault("malformed")
    reply = get(sandbox)
    assert reply.status_code == 200
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        reply.json()


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999", "-1", "0", "null"])
def test_numbers_become_nonsense(sandbox: RunningSandbox, value: str) -> None:
    sandbox.add_fault("nan", value=value)
    text = get(sandbox, "/simple/price?ids=bitcoin&vs_currencies=usd").text
    assert text == f'{{"bitcoin":{{"usd":{value}}}}}'


def test_series_lose_and_double_points(sandbox: RunningSandbox) -> None:
    whole = get(sandbox, CHART).json()["prices"][:-1]
    sandbox.add_fault("gaps", share_points=0.2)
    gappy = get(sandbox, CHART).json()
    assert 0.6 * len(whole) < len(gappy["prices"]) < 0.95 * len(whole)
    assert [p[0] for p in gappy["prices"]] == [p[0] for p in gappy["total_volumes"]]
    sandbox.clear_faults()
    sandbox.add_fault("duplicates", share_points=0.2)
    stamps = [p[0] for p in get(sandbox, CHART).json()["prices"]]
    assert len(stamps) > len(set(stamps)) > 0.95 * len(whole)
    assert stamps != sorted(stamps)


@pytest.mark.slow
def test_unequal_jump_and_clock(sandbox: RunningSandbox) -> None:
    sandbox.add_fault("unequal", times=1)
    chart = get(sandbox, CHART).json()
    assert len({len(chart[k]) for k in ("prices", "market_caps", "total_volumes")}) == 3
    whole = get(sandbox, CHART).json()["prices"]
    sandbox.add_fault("jump", factor=100, times=1)
    leaps = [a for a, b in zip(whole, get(sandbox, CHART).json()["prices"], strict=False) if b[1] > 50 * a[1]]
    assert len(leaps) == 1
    sandbox.add_fault("clock", shift_seconds=3600, times=1)
    assert get(sandbox, CHART).json()["prices"][0][0] - whole[0][0] == 3_600_000


def test_a_bomb_is_small_on_the_wire(sandbox: RunningSandbox) -> None:
    sandbox.add_fault("huge", megabytes=20)
    with httpx2.stream("GET", sandbox.base_url + "/ping", trust_env=False) as reply:
        packed = sum(len(part) for part in reply.iter_raw())
    assert packed < 100_000
    assert len(get(sandbox).content) > 20 * 1024 * 1024


def test_redirects_and_bad_faults(sandbox: RunningSandbox) -> None:
    sandbox.add_fault("redirect", location="http://127.0.0.1:9/")
    assert (get(sandbox).status_code, get(sandbox).headers["location"]) == (302, "http://127.0.0.1:9/")
    for spec in (
        {"kind": "earthquake"},
        {"path": "*"},
        {"kind": "status", "body": 7},
        {"kind": "drip", "x": 1},
    ):
        reply = httpx2.post(sandbox.root_url + "/sandbox/faults", json=spec, trust_env=False)
        assert reply.status_code == 422


def test_long_addresses_are_refused(sandbox: RunningSandbox) -> None:
    assert get(sandbox, "/simple/price?vs_currencies=usd&ids=" + "a" * 9000).status_code == 414
    many = ",".join(f"c{i}" for i in range(251))
    assert get(sandbox, f"/simple/price?vs_currencies=usd&ids={many}").status_code == 400
