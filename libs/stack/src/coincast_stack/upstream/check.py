"""Check CoinGecko as the very first step of `make run`, so that a cause is printed before any service runs.

Only the standard library is imported here: on a busy machine the imports of a service take longer than the
check itself. Causes and remedies are those of the market-data service, which names the problem that was found
and does not repeat a refusal (`MARKET_KNOWN_REFUSAL`).
"""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import unquote, urlsplit

PUBLIC_URL = "https://api.coingecko.com/api/v3"
PAID_URL = "https://pro-api.coingecko.com/api/v3"
DEMO_HEADER, PAID_HEADER = "x-cg-demo-api-key", "x-cg-pro-api-key"
CALL_SECONDS = 4.0
MOST_BYTES = 65_536
# For how long a start waits for the outcome, so that the services need not find out again: as long as a call
# to a silent host takes.
HAND_OVER_SECONDS = CALL_SECONDS + 0.5
OK, MANY = 200, 429
CREDITS = re.compile(r"month|credit", re.IGNORECASE)
REFUSED_KEY = re.compile(r"invalid|incorrect|wrong|expired|revoked|disabled", re.IGNORECASE)
# Those of the market-data service, which this process does not import.
REMEDIES = {
    "no_route": "Check the network, the firewall, MARKET_PROXY_URL and MARKET_UPSTREAM_URL.",
    "dns": "Check the name server, and the host in MARKET_UPSTREAM_URL.",
    "tls": "Check the machine's clock, and MARKET_UPSTREAM_CA_FILE if a proxy opens TLS connections.",
    "timeout": "Check the network; raise MARKET_CALL_DEADLINE_SECONDS on a slow line.",
    "not_coingecko": "Check MARKET_UPSTREAM_URL, and whether the network asks for a login.",
    "forbidden": "CoinGecko's protection blocks this address: use a free demo key, or another network.",
    "missing_key": "Set COINGECKO_API_KEY for make run, or MARKET_API_KEY with MARKET_PLAN=auto.",
    "invalid_key": "Check COINGECKO_API_KEY (MARKET_API_KEY): it may be mistyped, revoked or expired.",
    "wrong_host": "Set MARKET_PLAN to the plan of the key, or to auto to find it.",
    "plan_too_low": "Choose a plan that includes this at CoinGecko, and set MARKET_PLAN.",
    "credits_used_up": "Wait for the next month, or raise the plan at CoinGecko.",
    "server_error": "Wait; status.coingecko.com shows whether CoinGecko has a fault.",
}
KEY_CODES = {10002: "missing_key", 10010: "wrong_host", 10011: "wrong_host"}
PLAN_CODES = {10005, 10012}
# What the paid host says to a key of the public one.
NOT_THIS_HOST = frozenset({"missing_key", "invalid_key", "wrong_host", "forbidden"})


@dataclass(frozen=True, slots=True)
class UpstreamProblem:
    """Why CoinGecko cannot be had: the contract's name of the cause, and a sentence with the remedy."""

    cause: str
    sentence: str

    def as_setting(self, now: float) -> str:
        """Return the problem as the value of MARKET_KNOWN_REFUSAL."""
        return json.dumps({"cause": self.cause, "sentence": self.sentence, "at": now})


@dataclass(frozen=True, slots=True)
class UpstreamTarget:
    """Where CoinGecko is called and with what, as the market-data service would take it."""

    public_url: str = PUBLIC_URL
    paid_url: str = PAID_URL
    api_key: str = ""
    plan: str = "auto"
    proxy_url: str = ""
    ca_file: str = ""


def target_of(environment: Mapping[str, str], api_key: str) -> UpstreamTarget:
    """Return the target by the caller's variables; MARKET_API_KEY takes precedence, as in the service."""
    url = environment.get("MARKET_UPSTREAM_URL", "").rstrip("/")
    key = environment.get("MARKET_API_KEY") or api_key
    return UpstreamTarget(
        public_url=url or PUBLIC_URL,
        paid_url=url or PAID_URL,
        api_key=key,
        plan=environment.get("MARKET_PLAN") or ("auto" if key else "keyless"),
        proxy_url=environment.get("MARKET_PROXY_URL", ""),
        ca_file=environment.get("MARKET_UPSTREAM_CA_FILE", ""),
    )


class UpstreamCheck:
    """A check in a thread of its own, which says what it finds; `outcome` is the problem, or None."""

    def __init__(self, target: UpstreamTarget, say: Callable[[str], None]) -> None:
        self.outcome: Future[UpstreamProblem | None] = Future()
        # A caller that is cancelled while it waits must not cancel the outcome, which the thread will set.
        self.outcome.set_running_or_notify_cancel()
        self._target, self._say = target, say
        threading.Thread(target=self._run, name="upstream-check", daemon=True).start()

    def _run(self) -> None:
        problem = find_problem(self._target)
        if problem is not None:
            self._say(problem.sentence)
        self.outcome.set_result(problem)

    def hand_over(self, environment: dict[str, str], now: float | None = None) -> dict[str, str]:
        """Return the environment with the problem that was found.

        The service names it from its first reply on, and does not repeat a refusal.
        """
        problem = self.outcome.result() if self.outcome.done() else None
        if problem is None:
            return environment
        moment = time.time() if now is None else now
        return environment | {"MARKET_KNOWN_REFUSAL": problem.as_setting(moment)}


def begin_check(upstream: str, api_key: str, say: Callable[[str], None]) -> UpstreamCheck | None:
    """Begin to check CoinGecko if `upstream` says that it is to be used; None otherwise."""
    return UpstreamCheck(target_of(os.environ, api_key), say) if upstream == "coingecko" else None


def find_problem(target: UpstreamTarget) -> UpstreamProblem | None:
    """Return why CoinGecko cannot be had; None where it answers.

    One call; two for a key that the paid host does not know.
    """
    paid = {PAID_HEADER: target.api_key}
    demo = {DEMO_HEADER: target.api_key} if target.api_key and target.plan != "keyless" else {}
    if not target.api_key or target.plan in ("keyless", "demo"):
        return _call(target, f"{target.public_url}/ping", demo)
    problem = _call(target, f"{target.paid_url}/key", paid)
    if target.plan != "auto" or problem is None or problem.cause not in NOT_THIS_HOST:
        return problem
    return _call(target, f"{target.public_url}/ping", demo)


def _call(target: UpstreamTarget, url: str, headers: Mapping[str, str]) -> UpstreamProblem | None:
    host = urlsplit(url).netloc
    try:
        status, body = _get(target, url, headers)
    except socket.gaierror:
        return _problem("dns", f"The name {host} cannot be resolved.")
    except ssl.SSLError:
        return _problem("tls", f"No trusted TLS connection to {host} can be made.")
    except TimeoutError as error:
        path = url.rpartition("/")[2]
        return _problem("timeout", f"CoinGecko did not answer {path} in time ({type(error).__name__}).")
    except (OSError, HTTPException, ValueError) as error:
        return _problem("no_route", f"CoinGecko cannot be reached at {host} ({type(error).__name__}).")
    return _problem_of_reply(status, body, host)


def _get(target: UpstreamTarget, url: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
    connection, path, login = _connection(target, url)
    try:
        connection.request("GET", path, headers={"user-agent": "coincast", **login, **headers})
        reply = connection.getresponse()
        return reply.status, reply.read(MOST_BYTES)
    finally:
        connection.close()


def _connection(target: UpstreamTarget, url: str) -> tuple[HTTPConnection, str, dict[str, str]]:
    """Return a connection, through the proxy where one is set, and what to request over it.

    Returns:
        The connection, the path, and the headers that log in to a proxy without a tunnel.
    """
    to = urlsplit(url)
    secure, port = to.scheme == "https", to.port or (443 if to.scheme == "https" else 80)
    context = ssl.create_default_context() if secure else None
    if context is not None and target.ca_file:
        context.load_verify_locations(target.ca_file)
    host = to.hostname or ""
    if not target.proxy_url or host in ("127.0.0.1", "localhost", "::1"):
        if context is not None:
            return HTTPSConnection(host, port, timeout=CALL_SECONDS, context=context), to.path, {}
        return HTTPConnection(host, port, timeout=CALL_SECONDS), to.path, {}
    proxy = urlsplit(target.proxy_url)
    login = _login(proxy.username, proxy.password)
    at, at_port = proxy.hostname or "", proxy.port or 80
    if context is None:
        return HTTPConnection(at, at_port, timeout=CALL_SECONDS), url, login
    tunnel = HTTPSConnection(at, at_port, timeout=CALL_SECONDS, context=context)
    tunnel.set_tunnel(host, port, headers=login)
    return tunnel, to.path, {}


def _login(user: str | None, password: str | None) -> dict[str, str]:
    if not user:
        return {}
    pair = f"{unquote(user)}:{unquote(password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def _problem_of_reply(status: int, body: bytes, host: str) -> UpstreamProblem | None:
    code, message = _read(body)
    words = f": {message.strip().rstrip('.')}" if message else ""
    if status == OK and code is None and _is_document(body):
        return None
    cause = _cause_of_reply(status, code, message)
    sentences = {
        "credits_used_up": f"CoinGecko's credits of this month are used up{words}.",
        "plan_too_low": f"CoinGecko's plan does not give this{words}.",
        "server_error": f"CoinGecko fails with HTTP {status}{words}.",
        "not_coingecko": f"Something other than CoinGecko answers at {host} (HTTP {status}).",
    }
    if not cause:
        return None
    refused = "this address" if cause == "forbidden" else "the key"
    refusal = f"CoinGecko refuses {refused} (HTTP {status}){words}."
    return _problem(cause, sentences.get(cause, refusal))


def _cause_of_reply(status: int, code: int | None, message: str) -> str:
    """Return the cause of a reply that is no data; empty where it is a limit that a minute heals."""
    limited = MANY in (status, code) or message.strip().lower() == "throttled"
    keyed = code in PLAN_CODES or code in KEY_CODES
    if (limited or (status in (401, 402, 403) and not keyed)) and CREDITS.search(message):
        return "credits_used_up"
    if limited:
        return ""
    if code in KEY_CODES:
        cause = KEY_CODES[code]
        return "invalid_key" if cause == "missing_key" and REFUSED_KEY.search(message) else cause
    if code in PLAN_CODES or status == 402:
        return "plan_too_low"
    by_status = {401: "invalid_key", 403: "forbidden", 451: "forbidden"}
    if status >= 500:
        return "server_error"
    return by_status.get(status, "not_coingecko")


def _problem(cause: str, sentence: str) -> UpstreamProblem:
    return UpstreamProblem(cause, f"{sentence} {REMEDIES[cause]}")


def _is_document(body: bytes) -> bool:
    return body.lstrip()[:1] in (b"{", b"[")


def _read(body: bytes) -> tuple[int | None, str]:
    """Return (error code, message) of CoinGecko's forms of refusal; (None, "") where it has neither."""
    try:
        document: Any = json.loads(body)
    except ValueError:
        text = body.decode("utf-8", "replace").strip()
        return None, "" if text.startswith("<") else text[:300]
    if not isinstance(document, dict):
        return None, ""
    error, status = document.get("error"), document.get("status")
    inner = error.get("status") if isinstance(error, dict) else None
    places = [p for p in (document, status, error, inner) if isinstance(p, dict)]
    code = next((p["error_code"] for p in places if isinstance(p.get("error_code"), int)), None)
    message = next((p["error_message"] for p in places if isinstance(p.get("error_message"), str)), "")
    return code, (error if isinstance(error, str) else message)[:300]
