"""The doctor: each fault has its finding and its remedy, and the exit code follows."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest
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
    setup_of,
    show,
)
from coincast_stack.state_file import RunningStack, published

PONG = b'{"gecko_says":"(V3) To the Moon!"}'
USED_UP = b'{"plan":"Analyst","current_remaining_monthly_calls":0}'
KEY = b'{"plan":"Analyst","current_remaining_monthly_calls":499000}'


@contextlib.asynccontextmanager
async def server(replies: dict[str, tuple[str, bytes]]) -> AsyncIterator[str]:
    """Answer each path with its status and body, others with 401; yield the root."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
            status, body = replies.get(path, ("401 Unauthorized", b"{}"))
            head = f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


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
    ],
)
async def test_key(tmp_path: Path, replies: dict[str, tuple[str, bytes]], state: str, detail: str) -> None:
    async with server(replies) as root:
        found = await check_key(setup(tmp_path, root, api_key="k"))
    assert (found.state, found.detail) == (state, detail)


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


def test_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_disk(tmp_path / "not" / "there").check == "Disk"
    usage = SimpleNamespace(free=0.4e9)
    monkeypatch.setattr("coincast_stack.doctor.shutil.disk_usage", lambda path: usage)
    assert check_disk(tmp_path).state == "failed"
    usage.free = 1e9
    assert check_disk(tmp_path).state == "warning"


async def test_port(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        found = await check_port(Setup(tmp_path, taken.getsockname()[1]))
    assert (found.state, found.remedy) == ("failed", "Set PORT to a free port.")


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


def test_the_exit_code_follows_the_worst_finding() -> None:
    printed = io.StringIO()
    out = Console(file=printed, width=100)
    assert show([Finding("Disk", "ok", "fine"), Finding("Key", "warning", "none", "Get one.")], out) == 0
    assert show([Finding("Port", "failed", "taken", "Set PORT to a free port.")], out) == 1
    assert "Set PORT to a free port." in printed.getvalue()
