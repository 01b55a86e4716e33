"""What counts as CoinGecko where `make run` looks for it: its answer to a ping, in time; nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from coincast_stack.errors import SetupError
from coincast_stack.options import StackOptions, Upstream
from coincast_stack.upstream import choice as upstream
from coincast_stack.upstream.choice import check_folder, choose_upstream, coingecko_answers, folder_coins

PONG = b'{"gecko_says":"(V3) To the Moon!"}'
JSON = "application/json; charset=utf-8"
# Three seconds are documented; the rest allows for a busy machine.
LIMIT_SECONDS = 10.0


@contextlib.asynccontextmanager
async def server(
    body: bytes,
    *,
    status: str = "200 OK",
    kind: str = JSON,
    pause_seconds: float = 0.0,
    context: ssl.SSLContext | None = None,
) -> AsyncIterator[str]:
    """Gives every request this reply, its body a byte at a time where there is a pause; yields its ping."""

    requested: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requested.add(asyncio.current_task())  # type: ignore[arg-type]  # a handler is a task
        ignored = (asyncio.CancelledError, EOFError, OSError)
        with contextlib.suppress(*ignored), contextlib.closing(writer):
            await reader.readuntil(b"\r\n\r\n")
            head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
            writer.write(head.encode())
            for byte in body:
                writer.write(bytes([byte]))
                if pause_seconds:
                    await asyncio.sleep(pause_seconds)

    listening = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    try:
        yield f"{'https' if context else 'http'}://127.0.0.1:{listening.sockets[0].getsockname()[1]}/api/v3/ping"
    finally:
        listening.close()
        for task in requested:
            task.cancel()
        await asyncio.gather(*requested, return_exceptions=True)


async def test_its_answer_counts() -> None:
    async with server(PONG) as url:
        assert await coingecko_answers(url)


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        ("403 Forbidden", "text/plain", b"blocked"),
        ("403 Forbidden", JSON, PONG),
        ("302 Found", "text/html", b"log in"),
        ("503 Service Unavailable", JSON, PONG),
        ("200 OK", "text/html", b"<html>Welcome to this hotel</html>"),
        ("200 OK", JSON, b'{"status":"ok"}'),
        ("200 OK", JSON, b'["gecko_says"]'),
    ],
)
async def test_another_answer_does_not(status: str, kind: str, body: bytes) -> None:
    async with server(body, status=status, kind=kind) as url:
        assert not await coingecko_answers(url)


@pytest.mark.slow
async def test_an_answer_in_drops_is_waited_for_no_longer_than_three_seconds() -> None:
    async with server(PONG, pause_seconds=30 / len(PONG)) as url:
        began = time.monotonic()
        assert not await coingecko_answers(url)
        assert time.monotonic() - began < LIMIT_SECONDS, "the whole answer takes 30 s"


async def test_an_answer_in_drops_that_is_in_time_counts() -> None:
    async with server(PONG, pause_seconds=0.5 / len(PONG)) as url:
        assert await coingecko_answers(url)


async def test_a_refused_connection_is_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "ANSWER_WITHIN_SECONDS", 60.0)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        began = time.monotonic()
        assert not await coingecko_answers(f"http://127.0.0.1:{closed.getsockname()[1]}/api/v3/ping")
        assert time.monotonic() - began < 30, "it waits for no answer"


@pytest.mark.parametrize(
    ("wanted", "body", "chosen"),
    [
        (Upstream.COINGECKO, b"<html>", Upstream.COINGECKO),
        (Upstream.AUTO, PONG, Upstream.COINGECKO),
        (Upstream.AUTO, b"<html>", Upstream.SANDBOX),
        (Upstream.SANDBOX, PONG, Upstream.SANDBOX),
    ],
)
async def test_coingecko_is_chosen_where_it_answers_at_the_address_of_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: Upstream, body: bytes, chosen: Upstream
) -> None:
    async with server(body) as url:
        monkeypatch.setenv("MARKET_UPSTREAM_URL", url.removesuffix("/ping"))
        assert await choose_upstream(StackOptions(tmp_path, wanted)) == chosen


async def test_the_proxy_of_the_service_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKET_UPSTREAM_URL", "http://coingecko.invalid/api/v3")
    options = StackOptions(tmp_path, Upstream.AUTO)
    async with server(PONG) as proxy:
        monkeypatch.setenv("MARKET_PROXY_URL", proxy.removesuffix("/api/v3/ping"))
        assert await choose_upstream(options) == Upstream.COINGECKO
    assert await choose_upstream(options) == Upstream.SANDBOX


async def test_the_authority_of_the_service_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    options = StackOptions(tmp_path, Upstream.AUTO)
    async with server(PONG, context=context) as url:
        monkeypatch.setenv("MARKET_UPSTREAM_URL", url.removesuffix("/ping"))
        assert await choose_upstream(options) == Upstream.SANDBOX
        monkeypatch.setenv("MARKET_UPSTREAM_CA_FILE", str(tmp_path / "ca.pem"))
        assert await choose_upstream(options) == Upstream.COINGECKO
        monkeypatch.setenv("MARKET_UPSTREAM_CA_FILE", str(tmp_path / "absent.pem"))
        assert await choose_upstream(options) == Upstream.SANDBOX


async def test_an_answer_that_says_sandbox_does_not_count() -> None:
    async with server(PONG, kind=f"{JSON}\r\nx-coincast-sandbox: 1") as url:
        assert not await coingecko_answers(url)


async def test_a_folder_is_checked_where_the_sandbox_is_chosen(tmp_path: Path) -> None:
    options = StackOptions(tmp_path, data=tmp_path / "missing", upstream=Upstream.SANDBOX)
    with pytest.raises(SetupError, match="no such folder of candles"):
        await choose_upstream(options)


def test_a_folder_with_the_requested_coins_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "bitcoin.csv").touch()
    check_folder(StackOptions(tmp_path, data=tmp_path, coins=("bitcoin",)))


def test_a_coin_with_two_files_is_one_coin(tmp_path: Path) -> None:
    for name in ("bitcoin.csv", "BTC_USDT-1d.feather"):
        (tmp_path / name).touch()
    assert folder_coins(StackOptions(tmp_path, data=tmp_path)) == ("bitcoin",)
