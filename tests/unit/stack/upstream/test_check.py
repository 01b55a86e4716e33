"""The first check of CoinGecko: each cause in one call, said at once, and handed over to the service."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from coincast_chassis.clock import ManualClock
from coincast_chassis.errors import Unavailable
from coincast_market_data.coingecko import error_mapping
from coincast_market_data.coingecko.error_mapping import HOLD_SECONDS, RETRY_SECONDS, UpstreamAvailability
from coincast_stack.upstream import check as upstream_check
from coincast_stack.upstream.check import (
    UpstreamCheck,
    UpstreamProblem,
    UpstreamTarget,
    begin_check,
    find_problem,
    target_of,
)

PONG = b'{"gecko_says":"(V3) To the Moon!"}'
KEY = b'{"plan":"Analyst","rate_limit_request_per_minute":500}'


def refusal(code: int, message: str = "refused") -> bytes:
    return json.dumps({"status": {"error_code": code, "error_message": message}}).encode()


@contextmanager
def server(replies: dict[str, tuple[int, bytes]]) -> Iterator[tuple[str, list[tuple[str, dict[str, str]]]]]:
    """Answer each path; yield the root and the calls with their headers."""
    calls: list[tuple[str, dict[str, str]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            calls.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            status, body = replies.get(self.path, (404, b"{}"))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listening.server_address[1]}", calls
        finally:
            listening.shutdown()


@pytest.mark.parametrize(
    ("status", "body", "cause"),
    [
        (200, PONG, ""),
        (200, b"<html>Welcome to the hotel</html>", "not_coingecko"),
        (200, b"", "not_coingecko"),
        (302, b"", "not_coingecko"),
        (403, b"<html>error code: 1020</html>", "forbidden"),
        (401, refusal(10002), "missing_key"),
        (401, refusal(10002, "Invalid API Key"), "invalid_key"),
        (401, b'{"error":"invalid api key"}', "invalid_key"),
        (401, refusal(401, "Your API key has expired."), "invalid_key"),
        (400, refusal(10010), "wrong_host"),
        (400, b'{"error":{"status":{"error_code":10011,"error_message":"demo key"}}}', "wrong_host"),
        (401, refusal(10005), "plan_too_low"),
        (402, b'{"error":"payment required"}', "plan_too_low"),
        (429, refusal(429, "monthly credits used up"), "credits_used_up"),
        (429, refusal(10006, "You've exceeded your monthly credit."), "credits_used_up"),
        (403, b'{"error":"No credits left"}', "credits_used_up"),
        (429, refusal(429, "rate limit"), ""),
        (429, b"Throttled", ""),
        (200, refusal(10002), "missing_key"),
        (500, b"", "server_error"),
    ],
)
def test_a_reply_has_the_cause_that_the_service_finds_too(status: int, body: bytes, cause: str) -> None:
    with server({"/ping": (status, body)}) as (root, calls):
        problem = find_problem(UpstreamTarget(public_url=root, plan="keyless"))
    assert (problem.cause if problem else "") == cause
    assert len(calls) == 1
    if problem is not None:
        error = error_mapping.error_from_reply(status, body, {}, 0.0, path="ping")
        found = error_mapping.cause_of(error)
        assert problem.sentence.endswith(error_mapping.REMEDIES[error_mapping.Cause(cause)])
        if status != 200:
            assert found == cause
    assert set(upstream_check.REMEDIES) == set(error_mapping.REMEDIES) - {"rate_limited"}


@contextmanager
def silent() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@contextmanager
def self_signed() -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            raw, _ = listening.accept()
            try:
                context.wrap_socket(raw, server_side=True).close()
            except OSError:
                raw.close()

        threading.Thread(target=answer, daemon=True).start()
        yield f"https://localhost:{listening.getsockname()[1]}"


def test_connections_that_fail_name_their_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_check, "CALL_SECONDS", 0.2)
    with silent() as late, self_signed() as untrusted:
        for url, cause in (
            (late, "timeout"),
            (untrusted, "tls"),
            ("http://127.0.0.1:1", "no_route"),
            ("http://nowhere.invalid", "dns"),
        ):
            problem = find_problem(UpstreamTarget(public_url=url, plan="keyless"))
            assert problem is not None
            assert problem.cause == cause
            assert problem.sentence.endswith(upstream_check.REMEDIES[cause])


@pytest.mark.parametrize(
    ("plan", "replies", "cause", "paths"),
    [
        ("auto", {"/pro/key": (200, KEY)}, "", ["/pro/key"]),
        ("auto", {"/pro/key": (400, refusal(10011)), "/ping": (200, PONG)}, "", ["/pro/key", "/ping"]),
        ("auto", {"/pro/key": (401, b"{}"), "/ping": (401, b"{}")}, "invalid_key", ["/pro/key", "/ping"]),
        ("analyst", {"/pro/key": (400, refusal(10011))}, "wrong_host", ["/pro/key"]),
        ("demo", {"/ping": (200, PONG)}, "", ["/ping"]),
        ("demo", {"/ping": (400, refusal(10010))}, "wrong_host", ["/ping"]),
    ],
)
def test_a_key_is_shown_to_the_host_of_its_plan(
    plan: str, replies: dict[str, tuple[int, bytes]], cause: str, paths: list[str]
) -> None:
    with server(replies) as (root, calls):
        target = UpstreamTarget(public_url=root, paid_url=f"{root}/pro", api_key="CG-k", plan=plan)
        problem = find_problem(target)
    assert (problem.cause if problem else "") == cause
    assert [path for path, _ in calls] == paths
    for path, headers in calls:
        name = "x-cg-pro-api-key" if path == "/pro/key" else "x-cg-demo-api-key"
        assert headers[name] == "CG-k"


def test_the_target_is_that_of_the_service() -> None:
    assert target_of({}, "") == UpstreamTarget(plan="keyless")
    assert target_of({}, "CG-run").plan == "auto"
    given = {
        "MARKET_API_KEY": "CG-service",
        "MARKET_PLAN": "demo",
        "MARKET_UPSTREAM_URL": "http://mirror.example/api/v3/",
        "MARKET_PROXY_URL": "http://user:word@127.0.0.2:3128",
        "MARKET_UPSTREAM_CA_FILE": "/ca.pem",
    }
    target = target_of(given, "CG-run")
    assert (target.api_key, target.plan, target.ca_file) == ("CG-service", "demo", "/ca.pem")
    assert target.public_url == target.paid_url == "http://mirror.example/api/v3"


def test_a_proxy_is_used() -> None:
    with server({"http://coingecko.example/api/v3/ping": (200, PONG)}) as (proxy, calls):
        target = UpstreamTarget(public_url="http://coingecko.example/api/v3", plan="keyless", proxy_url=proxy)
        assert find_problem(target) is None
    assert len(calls) == 1


async def test_a_caller_that_is_cancelled_cancels_no_outcome() -> None:
    with server({"/ping": (200, PONG)}) as (root, _):
        check = UpstreamCheck(UpstreamTarget(public_url=root, plan="keyless"), print)
        waiting = asyncio.ensure_future(asyncio.wrap_future(check.outcome))
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert check.outcome.result(timeout=60) is None


def test_a_proxy_gets_its_login() -> None:
    with server({"http://coingecko.example/api/v3/ping": (200, PONG)}) as (root, calls):
        proxy = root.replace("http://", "http://user:w%3Ard@")
        assert find_problem(UpstreamTarget("http://coingecko.example/api/v3", proxy_url=proxy)) is None
    ((_, headers),) = calls
    assert headers["proxy-authorization"] == f"Basic {base64.b64encode(b'user:w:rd').decode()}"


@pytest.mark.parametrize("upstream", ["auto", "sandbox"])
def test_nothing_is_called_where_coingecko_is_not_asked_for(upstream: str) -> None:
    assert begin_check(upstream, "", print) is None


def test_the_problem_is_said_and_handed_over() -> None:
    said: list[str] = []
    with server({"/ping": (403, b"<html>1020</html>")}) as (root, _):
        check = UpstreamCheck(UpstreamTarget(public_url=root, plan="keyless"), said.append)
        problem = check.outcome.result(20)
    assert problem is not None
    assert said == [problem.sentence]
    passed = check.hand_over({"MARKET_PLAN": "keyless"}, now=1000.0)
    assert json.loads(passed["MARKET_KNOWN_REFUSAL"])["cause"] == "forbidden"
    assert passed["MARKET_PLAN"] == "keyless"


def known(cause: str, at: float) -> str:
    return UpstreamProblem(cause, "Because. Do this.").as_setting(at)


@pytest.mark.parametrize(
    ("document", "counts", "held"),
    [
        (known("forbidden", 5000.0), True, True),
        (known("invalid_key", 5000.0 - HOLD_SECONDS + 10), True, True),
        (known("invalid_key", 5000.0 - HOLD_SECONDS), False, False),
        (known("dns", 5000.0), True, False),
        (known("timeout", 5000.0 - 100), True, False),
        (known("timeout", 5000.0 - 200), False, False),
        (known("nonsense", 5000.0), False, False),
        (known("forbidden", 5000.0 + 2 * HOLD_SECONDS), False, False),
        ("no json", False, False),
        ("[]", False, False),
    ],
)
def test_the_service_names_a_problem_that_still_counts_and_holds_a_refusal(
    document: str, counts: bool, held: bool
) -> None:
    clock = ManualClock(5000.0)
    availability = UpstreamAvailability(clock)
    assert availability.note_known(document) is counts
    state = availability.state()
    assert (state.tried, state.permanent) == (counts, held)
    assert state.sentence == ("Because. Do this." if counts else "")
    if counts:
        with pytest.raises(Unavailable, match="Do this"):
            availability.check()
    clock.advance(RETRY_SECONDS)
    if held:
        with pytest.raises(Unavailable, match="Do this"):
            availability.check()
    else:
        availability.check()
    availability.record_success()
    assert availability.state().available


def test_nothing_heavy_is_imported_before_the_check() -> None:
    """On a busy machine the imports of the stack take longer than the check."""
    code = "import sys, coincast_stack.__main__; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"grpc", "redis", "httpx2", "rich.console", "coincast_stack.stack", "coincast_stack.run"}
    assert heavy.isdisjoint(done.stdout.split())


@pytest.mark.slow
def test_make_run_says_it_before_a_service_starts(tmp_path: Path) -> None:
    with server({"/ping": (403, b"<html>1020</html>")}) as (root, calls):
        environment: dict[str, Any] = {
            "UPSTREAM": "coingecko",
            "MARKET_UPSTREAM_URL": root,
            # A folder that cannot be made ends the start after the check.
            "VAR_DIR": str(tmp_path / "file" / "var"),
            "PATH": "/usr/bin:/bin",
        }
        (tmp_path / "file").write_text("")
        done = subprocess.run(
            [sys.executable, "-m", "coincast_stack", "run", "--port", "0"],
            env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert upstream_check.REMEDIES["forbidden"] in done.stdout
    assert "cannot make folders" in done.stderr or "VAR_DIR" in done.stderr
    assert len(calls) == 1
