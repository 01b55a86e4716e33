"""The doctor: each fault has its finding and its remedy, and the exit code follows."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
import trustme
from fastapi.routing import APIRoute
from rich.console import Console

from coincast_gateway.routers import health
from coincast_stack.doctor import (
    Finding,
    Setup,
    check_disk,
    check_key,
    check_port,
    check_redis,
    check_upstream,
    check_versions,
    examine,
    setup_of,
    show,
)
from coincast_stack.processes.ports import free_port
from coincast_stack.state_file import RunningStack, published
from tests.unit.stack.fake_system import redis_server

PONG = b'{"gecko_says":"(V3) To the Moon!"}'
USED_UP = b'{"plan":"Analyst","current_remaining_monthly_calls":0}'
KEY = b'{"plan":"Analyst","current_remaining_monthly_calls":499000}'


@contextlib.asynccontextmanager
async def server(
    replies: dict[str, tuple[str, bytes]], context: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """Answer each path with its status and body, others with 401; yield the root."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(EOFError, OSError), contextlib.closing(writer):
            path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
            status, body = replies.get(path, ("401 Unauthorized", b"{}"))
            head = f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with listening:
        yield f"{'https' if context else 'http'}://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


def setup(folder: Path, root: str = "http://127.0.0.1:1", **fields: str) -> Setup:
    return Setup(folder, 0, public_url=root, pro_url=f"{root}/pro", **fields)


@pytest.mark.parametrize(
    ("status", "body", "state", "detail"),
    [
        ("200 OK", PONG, "ok", "answers"),
        ("200 OK", b"<html>log in</html>", "warning", "something else answers with status 200"),
        ("403 Forbidden", b"blocked", "warning", "refuses this address with status 403"),
        ("302 Found", b"", "warning", "something else answers with status 302"),
        ("429 Too Many Requests", b"{}", "warning", "answers 429: its limit is used up"),
    ],
)
async def test_upstream(tmp_path: Path, status: str, body: bytes, state: str, detail: str) -> None:
    async with server({"/ping": (status, body)}) as root:
        found = await check_upstream(setup(tmp_path, root))
    assert (found.state, found.detail) == (state, detail)
    assert (found.remedy == "") is (state == "ok")


@pytest.mark.parametrize(
    ("root", "detail"),
    [("http://127.0.0.1:1", "no connection"), ("http://nowhere.invalid", "its name cannot be resolved")],
)
async def test_an_upstream_that_cannot_be_reached_names_the_cause(
    tmp_path: Path, root: str, detail: str
) -> None:
    found = await check_upstream(setup(tmp_path, root))
    assert (found.state, found.detail) == ("warning", detail)
    assert "UPSTREAM=sandbox" in found.remedy


@pytest.mark.parametrize(
    ("replies", "state", "detail"),
    [
        ({"/pro/key": ("200 OK", KEY)}, "ok", "plan Analyst, 499000 calls left this month"),
        ({"/pro/key": ("200 OK", USED_UP)}, "failed", "plan Analyst, no calls left this month"),
        ({"/ping": ("200 OK", PONG)}, "ok", "a demo key"),
        ({}, "failed", "refused: status 401 as a paid key, 401 as a demo key"),
        ({"/pro/key": ("200 OK", b"[]")}, "ok", "a paid key"),
        ({"/pro/key": ("200 OK", b'{"plan": "Analyst"}')}, "ok", "plan Analyst"),
        ({"/pro/key": ("429 Too Many Requests", b"")}, "warning", "could not be checked: status 429"),
        ({"/ping": ("429 Too Many Requests", b"")}, "warning", "could not be checked: status 429"),
        ({"/ping": ("503 Service Unavailable", b"")}, "warning", "could not be checked: status 503"),
    ],
)
async def test_key(tmp_path: Path, replies: dict[str, tuple[str, bytes]], state: str, detail: str) -> None:
    async with server(replies) as root:
        found = await check_key(setup(tmp_path, root, api_key="k"))
    assert (found.state, found.detail) == (state, detail)


@pytest.mark.parametrize(
    ("accepted", "plan", "says"),
    [
        ("/pro/key", "demo", "failed: a paid key, but MARKET_PLAN=demo"),
        ("/pro/key", "keyless", "failed: a paid key, but MARKET_PLAN=keyless"),
        ("/pro/key", "analyst", "ok: plan Analyst, 499000 calls left this month"),
        ("/ping", "analyst", "failed: a demo key, but MARKET_PLAN=analyst"),
        ("/ping", "keyless", "failed: a demo key, but MARKET_PLAN=keyless"),
        ("/ping", "demo", "ok: a demo key"),
        ("/ping", "auto", "ok: a demo key"),
        ("", "demo", "failed: no key, but MARKET_PLAN=demo"),
        ("", "keyless", "ok: no key: the keyless plan"),
    ],
)
async def test_plan_of_the_settings_agrees_with_the_key(
    tmp_path: Path, accepted: str, plan: str, says: str
) -> None:
    documents = {"/pro/key": KEY, "/ping": PONG}
    replies = {accepted: ("200 OK", documents[accepted])} if accepted else {}
    async with server(replies) as root:
        found = await check_key(replace(setup(tmp_path, root, api_key="k" if accepted else ""), plan=plan))
    assert f"{found.state}: {found.detail}" == says
    assert found.state == "ok" or "MARKET_PLAN" in found.remedy


async def test_a_key_cannot_be_checked_where_nothing_answers(tmp_path: Path) -> None:
    found = await check_key(setup(tmp_path, api_key="k"))
    assert (found.state, found.detail) == ("warning", "could not be checked")


async def test_an_upstream_that_is_silent_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coincast_stack.doctor.ANSWER_SECONDS", 0.02)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        found = await check_upstream(setup(tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}"))
    assert (found.state, found.detail) == ("warning", "no answer within 0 s")


async def test_the_authority_of_the_service_is_trusted(tmp_path: Path) -> None:
    authority = trustme.CA()
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with server({"/ping": ("200 OK", PONG)}, context) as root:
        variables = {"MARKET_UPSTREAM_URL": root}
        found = await check_upstream(setup_of(variables, tmp_path, 0, redis_url="", api_key=""))
        assert (found.state, found.detail) == ("warning", "TLS failed")
        assert "MARKET_UPSTREAM_CA_FILE" in found.remedy
        variables["MARKET_UPSTREAM_CA_FILE"] = str(ca_file)
        found = await check_upstream(setup_of(variables, tmp_path, 0, redis_url="", api_key=""))
        assert (found.state, found.detail) == ("ok", "answers")


async def test_a_file_of_authorities_that_is_absent_is_named(tmp_path: Path) -> None:
    found = await check_upstream(setup(tmp_path, ca_file=str(tmp_path / "absent.pem")))
    assert (found.state, found.detail) == ("warning", "MARKET_UPSTREAM_CA_FILE cannot be read")


async def test_the_proxy_and_the_address_of_the_service_are_used(tmp_path: Path) -> None:
    async with server({"http://coingecko.invalid/api/v3/ping": ("200 OK", PONG)}) as proxy:
        variables = {"MARKET_UPSTREAM_URL": "http://coingecko.invalid/api/v3/", "MARKET_PROXY_URL": proxy}
        found = await check_upstream(setup_of(variables, tmp_path, 0, redis_url="", api_key=""))
        assert (found.state, found.detail) == ("ok", "answers")
        wrong = variables | {"MARKET_PROXY_URL": "proxy.example:3128"}
        found = await check_upstream(setup_of(wrong, tmp_path, 0, redis_url="", api_key=""))
        assert found.state == "warning"


def test_the_key_of_the_service_takes_precedence(tmp_path: Path) -> None:
    variables = {"MARKET_API_KEY": "CG-service"}
    assert setup_of(variables, tmp_path, 0, redis_url="", api_key="CG-run").api_key == "CG-service"
    assert setup_of({}, tmp_path, 0, redis_url="", api_key="CG-run").api_key == "CG-run"


async def test_no_key_is_the_keyless_plan(tmp_path: Path) -> None:
    assert (await check_key(setup(tmp_path))).detail == "no key: the keyless plan"


async def test_redis() -> None:
    assert (await check_redis("")).state == "ok"
    found = await check_redis("redis://127.0.0.1:1/0")
    assert (found.state, found.remedy) == ("failed", "Start it, or leave REDIS_URL empty.")
    async with redis_server() as port:
        found = await check_redis(f"redis://127.0.0.1:{port}/0")
    assert (found.state, found.detail) == ("ok", "the Redis of REDIS_URL answers")
    found = await check_redis("localhost:6379")
    assert (found.state, found.remedy) == ("failed", "Correct REDIS_URL, or leave it empty.")
    assert "REDIS_URL is malformed" in found.detail


async def test_an_embedded_redis_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coincast_stack.doctor.get_binary_path", lambda: tmp_path / "valkey-server")
    found = await check_redis("")
    assert (found.state, found.detail) == ("failed", "the embedded server is missing")


def test_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_disk(tmp_path / "not" / "there").check == "Disk"
    usage = SimpleNamespace(free=0.4e9)
    monkeypatch.setattr("coincast_stack.doctor.shutil.disk_usage", lambda path: usage)
    assert check_disk(tmp_path).state == "failed"
    usage.free = 1e9
    assert check_disk(tmp_path).state == "warning"
    usage.free = 3e9
    assert check_disk(tmp_path).state == "ok"


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "var").touch()
    for folder in (tmp_path / "var", tmp_path / "var" / "state"):
        found = check_disk(folder)
        assert (found.state, found.detail) == ("failed", f"{folder} cannot be written")


async def test_port(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        found = await check_port(Setup(tmp_path, taken.getsockname()[1]))
    assert (found.state, found.remedy) == ("failed", "Set PORT to a free port.")


async def test_a_port_that_is_free(tmp_path: Path) -> None:
    port = free_port()
    found = await check_port(Setup(tmp_path, port))
    assert (found.state, found.detail) == ("ok", f"{port} is free")


async def test_a_stack_that_runs_and_does_not_answer(tmp_path: Path) -> None:
    running = RunningStack(os.getpid(), "http://127.0.0.1:1", "", "", "", "sandbox", str(tmp_path / "x"))
    with published(tmp_path, running):
        found = await check_port(Setup(tmp_path, 1))
    assert found.state == "failed"
    assert found.detail == f"process {os.getpid()} runs but http://127.0.0.1:1 does not answer"
    assert f"{tmp_path}/x/logs" in found.remedy


async def test_port_that_a_running_coincast_has_is_in_order(tmp_path: Path) -> None:
    """The path that is looked at is one that a gateway answers whatever its state."""
    paths = {route.path for route in health.router.routes if isinstance(route, APIRoute)}
    replies = {"/health": ("200 OK", b"{}"), "/health/ready": ("503 Service Unavailable", b"{}")}
    assert set(replies) <= paths
    async with server(replies) as url:
        running = RunningStack(os.getpid(), url, "", "", "", "sandbox", str(tmp_path))
        with published(tmp_path, running):
            found = await check_port(Setup(tmp_path, 1))
    assert (found.state, found.detail) == ("ok", f"Coincast runs at {url}")


def test_versions() -> None:
    assert [finding.state for finding in check_versions()] == ["ok", "ok"]


@pytest.mark.parametrize(
    ("versions", "detail"),
    [
        ({}, "coincast-training is not installed"),
        (
            {"coincast-training": "2.0"},
            "versions differ: coincast-gateway 1.0, coincast-market-data 1.0, coincast-forecast 1.0, "
            "coincast-training 2.0",
        ),
    ],
)
def test_packages_that_do_not_match(
    monkeypatch: pytest.MonkeyPatch, versions: dict[str, str], detail: str
) -> None:
    installed = dict.fromkeys(("coincast-gateway", "coincast-market-data", "coincast-forecast"), "1.0")
    installed |= versions

    def version(name: str) -> str:
        if name not in installed:
            raise metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(metadata, "version", version)
    assert check_versions()[1:] == [Finding("Packages", "failed", detail, "Run make setup.")]


def test_a_python_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 14, "final", 0))
    assert check_versions()[0] == Finding("Python", "failed", "3.10.14", "Install Python 3.11 or later.")


async def test_every_check_is_made(tmp_path: Path) -> None:
    async with server({"/ping": ("200 OK", PONG)}) as root:
        findings = await examine(Setup(tmp_path, free_port(), public_url=root))
    checks = ["Python", "Packages", "CoinGecko", "Key and plan", "Redis", "Disk", "Port"]
    assert [finding.check for finding in findings] == checks


def test_the_exit_code_follows_the_worst_finding() -> None:
    printed = io.StringIO()
    out = Console(file=printed, width=100)
    assert show([Finding("Disk", "ok", "fine"), Finding("Key", "warning", "none", "Get one.")], out) == 0
    assert show([Finding("Port", "failed", "taken", "Set PORT to a free port.")], out) == 1
    assert "Set PORT to a free port." in printed.getvalue()


def test_brackets_are_shown_as_they_are() -> None:
    printed = io.StringIO()
    show([Finding("Disk", "ok", "3.0 GB free for /[/work]/var")], Console(file=printed, width=100))
    assert "/[/work]/var" in printed.getvalue()
