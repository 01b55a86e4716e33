"""What a request without an API key must fulfil, as a table of requests."""

from __future__ import annotations

import pytest

from coincast_gateway.auth.authenticator import OPEN, AuthResult
from coincast_gateway.edge.middleware import RequestChecks

CHECKS = RequestChecks(True, frozenset({"box.lan"}), frozenset({"https://shop.example"}))
JSON = {"content-type": "application/json"}
KEY = AuthResult("reader", frozenset({"read"}), [])


def status(
    checks: RequestChecks,
    method: str,
    *headers: tuple[str, str],
    auth: AuthResult = OPEN,
    version: str = "1.1",
) -> int:
    raw = [(name.encode(), value.encode()) for name, value in headers]
    problem = checks.check({"method": method, "headers": raw, "http_version": version}, auth)
    return 200 if problem is None else problem.kind.status


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1:8000", 200), ("127.8.9.1", 200), ("localhost:1", 200), ("LOCALHOST", 200),
        ("localhost.", 200), ("[::1]:8000", 200), ("[::1]", 200), ("box.lan:8000", 200),
        ("app.localhost", 200), ("evil.example", 403), ("evil.example:8000", 403), ("10.0.0.1", 403),
        ("127.0.0.1.evil.example", 403), ("localhost.evil.example", 403), ("", 403), ("[::2]", 403),
    ],
)  # fmt: skip
def test_the_host_is_a_name_of_this_machine(host: str, expected: int) -> None:
    for method in ("GET", "HEAD", "DELETE"):
        assert status(CHECKS, method, ("host", host)) == expected
    # A key, or a gateway that is not open, does not depend on the name.
    assert status(CHECKS, "GET", ("host", host), auth=KEY) == 200
    assert status(RequestChecks(False), "GET", ("host", host)) == 200


def test_exactly_one_host_whoever_asks() -> None:
    for checks in (CHECKS, RequestChecks(False)):
        for auth in (OPEN, KEY):
            assert status(checks, "GET", auth=auth) == 400
            assert status(checks, "GET", ("host", "a"), ("host", "localhost"), auth=auth) == 400
            assert status(checks, "GET", auth=auth, version="1.0") == 200


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({**JSON}, 200),
        ({"content-type": "Application/JSON; charset=utf-8"}, 200),
        ({}, 200),
        ({**JSON, "origin": "http://localhost:8000"}, 200),
        ({**JSON, "origin": "https://shop.example"}, 200),
        ({**JSON, "origin": "http://localhost:9000"}, 403),
        ({**JSON, "origin": "https://evil.example"}, 403),
        ({**JSON, "origin": "null"}, 403),
        ({**JSON, "sec-fetch-site": "same-origin"}, 200),
    ],
)
def test_a_change_comes_from_this_site(headers: dict[str, str], expected: int) -> None:
    for method in ("POST", "PUT", "PATCH"):
        assert status(CHECKS, method, ("host", "localhost:8000"), *headers.items()) == expected
        assert status(CHECKS, method, ("host", "localhost:8000"), *headers.items(), auth=KEY) == 200


def test_other_sites_are_refused_by_what_the_browser_says_of_them() -> None:
    headers = (("host", "localhost"), ("content-type", "application/json"), ("sec-fetch-site", "cross-site"))
    assert status(RequestChecks(True), "POST", *headers) == 403
    assert status(RequestChecks(True), "DELETE", *headers) == 403
    assert status(RequestChecks(True), "GET", *headers) == 200
