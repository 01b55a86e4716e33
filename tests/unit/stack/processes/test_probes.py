"""Probes of processes: each answers yes or no, whatever is at the other end."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from coincast_stack.errors import SetupError
from coincast_stack.processes import probes
from coincast_stack.processes.probes import (
    accepts_connections,
    answers_http,
    answers_redis,
    as_json,
    get,
    trusted,
)
from tests.unit.stack.fake_system import Replies, http_server, redis_server


@pytest.fixture
def silent() -> Iterator[int]:
    """Yield a port that accepts connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


@pytest.mark.parametrize(("status", "answers"), [(200, True), (307, True), (404, False), (503, False)])
async def test_a_status_below_400_is_an_answer(status: int, answers: bool) -> None:
    async with http_server(Replies({"/health": (status, b"body")})) as root:
        assert await answers_http(f"{root}/health") is answers
        assert await get(f"{root}/health") == (status, b"body")


async def test_without_an_answer_the_status_is_0(silent: int) -> None:
    assert await get("http://127.0.0.1:1/health") == (0, b"")
    assert await get(f"http://127.0.0.1:{silent}/health", timeout_seconds=0.02) == (0, b"")
    assert not await answers_http("http://127.0.0.1:1/health")


@pytest.mark.parametrize(("body", "document"), [(b'{"a": 1}', {"a": 1}), (b"<html>", None), (b"\xff", None)])
def test_a_body_is_read_where_it_is_json(body: bytes, document: object) -> None:
    assert as_json(body) == document


async def test_a_port_accepts_connections_if_something_listens(silent: int) -> None:
    assert await accepts_connections("127.0.0.1", silent)
    assert not await accepts_connections("127.0.0.1", 1)


async def test_a_redis_answers_ping() -> None:
    async with redis_server() as port:
        assert await answers_redis(f"redis://127.0.0.1:{port}/0")
    async with redis_server(pong=b"-NOAUTH Authentication required.\r\n") as port:
        assert not await answers_redis(f"redis://127.0.0.1:{port}/0")
    assert not await answers_redis("redis://127.0.0.1:1/0")


async def test_a_silent_redis_does_not_answer(silent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "PROBE_SECONDS", 0.02)
    assert not await answers_redis(f"redis://127.0.0.1:{silent}/0")


@pytest.mark.parametrize(
    "url", ["localhost:6379", "redis://:pass/word@127.0.0.1:6379/0", "redis://127.0.0.1:1/0?password2=word"]
)
async def test_a_malformed_address_of_a_redis_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(SetupError, match="REDIS_URL is malformed") as caught:
        await answers_redis(url)
    assert "word" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_further_authority_is_trusted(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(file))
    assert len(trusted(str(file)).get_ca_certs()) == len(trusted().get_ca_certs()) + 1


def test_a_file_without_certificates_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    with pytest.raises(ssl.SSLError):
        trusted(str(tmp_path / "empty.pem"))
    with pytest.raises(FileNotFoundError):
        trusted(str(tmp_path / "absent.pem"))
