"""Market data with nothing set: a running stack, a service, CoinGecko, or the sandbox."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
from pathlib import Path

import httpx2
import pytest

from coincast_chassis.errors import Unavailable
from coincast_stack.state_file import user_state_dir
from coincast_training.hourly.trainer import IntradayPipeline
from coincast_training.market_access import ChartHistory, daily_candles, find_running_stack, open_market
from coincast_training.pipeline.factory import open_run
from coincast_training.settings import Settings

CLOSED = "http://127.0.0.1:9/api/v3"
RUNNING = {"market_target": "127.0.0.1:4001", "training_target": "127.0.0.1:4003"}


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable, no stack, no way to CoinGecko; the working folder is empty."""
    for name in list(os.environ):
        if name.startswith(("TRAINING_", "MARKET_", "COINGECKO_", "VAR_DIR")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MARKET_UPSTREAM_URL", CLOSED)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)


def publish(folder: Path, pid: int, name: str = "running.json") -> None:
    """A state file as `make run` writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    state = RUNNING | {"pid": pid, "state_dir": str(folder / "sandbox")}
    (folder / name).write_text(json.dumps(state))


def test_a_running_stack_is_found_from_a_folder_below(tmp_path: Path) -> None:
    publish(tmp_path / "var", os.getpid())
    (tmp_path / "notebooks").mkdir()
    found = find_running_stack(tmp_path / "notebooks")
    assert found is not None
    assert (found.market_target, found.training_target) == ("127.0.0.1:4001", "127.0.0.1:4003")
    assert found.artifacts_dir == tmp_path / "var" / "sandbox" / "artifacts"


def test_var_dir_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path / "elsewhere", os.getpid())
    assert find_running_stack() is None
    monkeypatch.setenv("VAR_DIR", str(tmp_path / "elsewhere"))
    assert find_running_stack() is not None


def test_a_stack_that_runs_elsewhere_is_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(user_state_dir(), os.getpid(), f"running-{os.getpid()}.json")
    # A newer one was killed.
    publish(user_state_dir(), 999_999_999, "running-999999999.json")
    found = find_running_stack(tmp_path / "notebooks")
    assert found is not None
    assert found.market_target == "127.0.0.1:4001"
    publish(tmp_path / "var", os.getpid())
    near = find_running_stack(tmp_path / "notebooks")
    assert near is not None
    assert near.artifacts_dir == tmp_path / "var" / "sandbox" / "artifacts", "one of this folder comes first"
    monkeypatch.setenv("VAR_DIR", str(tmp_path / "chosen"))
    assert find_running_stack() is None, "a folder that is set is the only one"


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"pid": "x"}', '{"pid": 1}'])
def test_a_broken_state_file_is_passed_over(tmp_path: Path, content: str) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "running.json").write_text(content)
    assert find_running_stack(tmp_path) is None


async def test_a_killed_stack_is_passed_over(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec("true")
    await process.wait()
    publish(tmp_path / "var", process.pid)
    assert find_running_stack(tmp_path) is None


async def test_a_running_stack_gives_data_and_takes_the_version(tmp_path: Path) -> None:
    publish(tmp_path / "var", os.getpid())
    async with open_market(Settings()) as market:
        assert "running stack" in market.description
        assert market.settings.market_target == "127.0.0.1:4001"
        assert market.settings.artifacts_dir == tmp_path / "var" / "sandbox" / "artifacts"


async def test_what_was_set_is_used_as_it_is(tmp_path: Path) -> None:
    publish(tmp_path / "var", os.getpid())
    async with open_market(Settings(market_target="127.0.0.1:7", artifacts_dir=tmp_path / "own")) as market:
        assert market.settings.market_target == "127.0.0.1:7"
        assert market.settings.artifacts_dir == tmp_path / "own"


async def test_with_nothing_at_all_the_sandbox_answers_and_says_so(tmp_path: Path) -> None:
    async with open_market(Settings()) as market:
        assert "NOT REAL MARKET DATA" in market.description
        history = await market.history.fetch(["bitcoin", "no-such-coin"], 200)
    assert history.source == "sandbox"
    assert len(history.panel["bitcoin"]) in (199, 200)
    assert "no-such-coin" in history.problems


def chart_server(replies: list[httpx2.Response]) -> httpx2.AsyncClient:
    """A client whose replies come in order."""
    return httpx2.AsyncClient(
        transport=httpx2.MockTransport(lambda _: replies.pop(0)), base_url="http://coingecko/api/v3"
    )


def chart(days: int) -> dict:
    """A chart whose last point is in the middle of a day."""
    first = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
    stamps = [(first + dt.timedelta(days=n)).timestamp() * 1000 for n in range(days)]
    points = [[stamp, 100.0 + n] for n, stamp in enumerate(stamps)]
    now = [stamps[-1] + 5 * 3600 * 1000, 999.0]
    return {"prices": [*points, now], "total_volumes": [[stamp, 1e6] for stamp in stamps]}


def test_a_point_at_midnight_closes_the_day_before_and_now_is_left_out() -> None:
    candles = daily_candles("bitcoin", chart(3))
    assert [str(day) for day in candles.dates] == ["2024-12-31", "2025-01-01", "2025-01-02"]
    assert candles.close.tolist() == [100.0, 101.0, 102.0]
    assert candles.volume.tolist() == [1e6, 1e6, 1e6]


def test_a_chart_without_a_closed_day_is_refused() -> None:
    with pytest.raises(ValueError, match="no closed day"):
        daily_candles("bitcoin", {"prices": []})


async def test_a_reached_limit_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def note(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr("coincast_training.market_access.asyncio.sleep", note)
    replies = [httpx2.Response(429, headers={"retry-after": "7"}), httpx2.Response(200, json=chart(5))]
    async with chart_server(replies) as client:
        history = await ChartHistory(client, vs_currency="usd", source="coingecko").fetch(["bitcoin"], 90)
    assert pauses == [7.0]
    assert len(history.panel["bitcoin"]) == 5


async def test_no_history_at_all_names_each_reason() -> None:
    async with chart_server([httpx2.Response(404), httpx2.Response(500)]) as client:
        source = ChartHistory(client, vs_currency="usd", source="coingecko")
        with pytest.raises(Unavailable, match=r"a: it answered with status 404; b: .* 500"):
            await source.fetch(["a", "b"], 90)


async def test_hours_come_from_charts_of_ninety_days(monkeypatch: pytest.MonkeyPatch) -> None:
    end = dt.datetime(2025, 9, 1, 12, 3, tzinfo=dt.UTC).timestamp()
    spans: list[tuple[float, float]] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        query = request.url.params
        last = float(query.get("to", end))
        first = float(query["from"]) if "from" in query else last - 86_400 * int(query["days"])
        spans.append((first, last))
        stamps = [last - 3600 * n for n in range(int((last - first) / 3600), -1, -1)]
        return httpx2.Response(200, json={"prices": [[stamp * 1000, stamp / 1e6] for stamp in stamps]})

    transport = httpx2.MockTransport(answer)
    async with httpx2.AsyncClient(transport=transport, base_url="http://coingecko/api/v3") as client:
        source = ChartHistory(client, vs_currency="usd", source="coingecko")
        history = await source.fetch_hourly(["bitcoin"], 200)
    candles = history.panel["bitcoin"]
    assert len(spans) == 3
    assert all(last - first <= 90 * 86_400 for first, last in spans)
    assert len(candles) == 200 * 24 + 1
    assert str(candles.starts[-1]) == "2025-09-01T11", "the hour that ended at 12:00"


class Upstream:
    """An HTTP server that answers each path with a status and a body, and notes the headers of keys."""

    def __init__(self, replies: dict[str, tuple[int, bytes]], *, sandbox: bool = False) -> None:
        self.replies, self.sandbox = replies, sandbox
        self.calls: list[tuple[str, str]] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        path = head.split()[1].removeprefix("/api/v3")
        key = next((line.split(":")[0] for line in head.splitlines() if line.startswith("x-cg-")), "")
        self.calls.append((path, key))
        status, body = self.replies.get(path, (401, b'{"error":"invalid api key"}'))
        mark = "x-coincast-sandbox: 1\r\n" if self.sandbox else ""
        writer.write(
            f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{mark}connection: close\r\n\r\n".encode()
        )
        writer.write(body)
        await writer.drain()
        writer.close()


PONG = b'{"gecko_says":"(V3) To the Moon!"}'


@pytest.mark.parametrize(
    ("replies", "key", "description", "calls"),
    [
        ({"/ping": (200, PONG)}, "", "CoinGecko directly", [("/ping", "")]),
        ({"/ping": (429, b"Throttled")}, "", "CoinGecko directly", [("/ping", "")]),
        ({"/key": (200, b'{"plan":"Basic"}')}, "k", "CoinGecko directly", [("/key", "x-cg-pro-api-key")]),
        (
            {"/ping": (200, PONG)},
            "k",
            "CoinGecko directly",
            [("/key", "x-cg-pro-api-key"), ("/ping", "x-cg-demo-api-key")],
        ),
        ({"/ping": (200, b"<html>log in</html>")}, "", "NOT REAL MARKET DATA", [("/ping", "")]),
        ({"/ping": (403, b"blocked")}, "", "answers with status 403", [("/ping", "")]),
    ],
    ids=["free", "limit reached", "paid key", "demo key", "login page", "blocked"],
)
async def test_own_market_data_says_who_answers(
    monkeypatch: pytest.MonkeyPatch,
    replies: dict[str, tuple[int, bytes]],
    key: str,
    description: str,
    calls: list[tuple[str, str]],
) -> None:
    upstream = Upstream(replies)
    monkeypatch.setenv("COINGECKO_API_KEY", key)
    announced: list[str] = []
    async with await asyncio.start_server(upstream.answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/api/v3"
        monkeypatch.setenv("MARKET_UPSTREAM_URL", url)
        async with open_market(Settings(), announce=announced.append) as market:
            assert description in market.description
    assert announced == [market.description]
    assert upstream.calls == calls


async def test_a_sandbox_behind_the_address_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    upstream = Upstream({"/ping": (200, PONG)}, sandbox=True)
    async with await asyncio.start_server(upstream.answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/api/v3"
        monkeypatch.setenv("MARKET_UPSTREAM_URL", url)
        async with open_market(Settings()) as market:
            assert "NOT REAL MARKET DATA" in market.description


async def test_a_refused_key_is_no_reason_for_simulated_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COINGECKO_API_KEY", "mistyped")
    upstream = Upstream({})
    async with await asyncio.start_server(upstream.answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/api/v3"
        monkeypatch.setenv("MARKET_UPSTREAM_URL", url)
        with pytest.raises(Unavailable, match=r"COINGECKO_API_KEY: .* status 401"):
            async with open_market(Settings()):
                pass


async def test_the_hourly_model_finds_the_running_stack(tmp_path: Path) -> None:
    publish(tmp_path / "var", os.getpid())
    announced: list[str] = []
    async with open_run(Settings(), "intraday", announce=announced.append) as pipeline:
        assert isinstance(pipeline, IntradayPipeline)
        assert pipeline.registry.root == tmp_path / "var" / "sandbox" / "artifacts"
    assert "running stack" in announced[0]
