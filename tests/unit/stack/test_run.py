"""`make run`: what it prints from the start to the stop, and how it ends."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from rich.console import Console

from coincast.market.v1 import market_pb2 as mk
from coincast.training.v1 import training_pb2 as tr
from coincast_stack import run as module
from coincast_stack.errors import ChildDeathError, StackError
from coincast_stack.options import StackOptions, Upstream
from coincast_stack.run import run, say_unused_rows
from coincast_stack.state_file import user_state_dir
from coincast_stack.status import readiness
from coincast_stack.upstream.check import UpstreamCheck, UpstreamProblem
from tests.unit.stack.fake_system import FakeSystem, fake_system, kept_signal_handlers

REFUSED = UpstreamProblem("invalid_key", "CoinGecko refuses the key. Check it.")


class Terminal(io.StringIO):
    """Records what is printed, and waits for a text."""

    async def shows(self, text: str) -> None:
        async with asyncio.timeout(60):
            while text not in self.getvalue():  # noqa: ASYNC110 - a terminal has no event
                await asyncio.sleep(0.005)


class FinishedCheck(UpstreamCheck):
    """A check of CoinGecko that has found something, or has not ended yet."""

    def __init__(self, problem: UpstreamProblem | None, *, ended: bool = True) -> None:
        self.outcome: Future[UpstreamProblem | None] = Future()
        if ended:
            self.outcome.set_result(problem)


@pytest.fixture(autouse=True)
def signal_handlers() -> Iterator[None]:
    with kept_signal_handlers():
        yield


@pytest.fixture
async def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeSystem]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "user"))
    monkeypatch.setattr(readiness, "POLL_SECONDS", 0.005)
    monkeypatch.setattr(module, "START_POLL_SECONDS", 0.005)
    monkeypatch.setattr(module, "CALM_POLL_SECONDS", 0.005)
    async with fake_system(tmp_path / "state") as running:
        yield running


def start(
    system: FakeSystem, options: StackOptions, check: UpstreamCheck | None = None
) -> tuple[asyncio.Task[None], Terminal]:
    out = Terminal()
    console = Console(file=out, width=160)
    return asyncio.create_task(run(options, console, check, launch=system.launch)), out


async def interrupted(running: asyncio.Task[None]) -> None:
    signal.raise_signal(signal.SIGINT)
    async with asyncio.timeout(60):
        await running


async def test_it_says_when_it_is_ready_and_stops_on_ctrl_c(system: FakeSystem, tmp_path: Path) -> None:
    system.serve_models("lightgbm")
    options = StackOptions(tmp_path, later=("ml_ensemble",), admin_token="t0ken")
    running, out = start(system, options)
    await out.shows("ml_ensemble: trained in the background")
    assert [each.name for each in user_state_dir().iterdir()], "other programs find the stack"
    await interrupted(running)
    printed, url = out.getvalue(), f"http://127.0.0.1:{system.layout.ports.gateway}"
    assert "NOT REAL MARKET DATA" in printed
    assert f"Coincast is ready: {url}" in printed
    assert "Admin token (X-API-Key of administrative routes): t0ken" in printed
    assert f"Logs: {system.layout.state_dir / 'logs'}   Ctrl-C stops everything." in printed
    assert "Reminder: this is the sandbox" in printed
    assert printed.endswith("stopping\nstopped\n")
    assert not list(user_state_dir().iterdir())


async def test_with_coingecko_it_warns_of_no_sandbox(
    system: FakeSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    system.use_coingecko()
    system.serve_models("lightgbm", "ml_ensemble")
    options = StackOptions(tmp_path, Upstream.AUTO, later=("ml_ensemble",))
    running, out = start(system, options)
    await out.shows("Ctrl-C stops everything.")
    await interrupted(running)
    printed = out.getvalue()
    assert printed.startswith("checking whether CoinGecko answers (up to 3 s)\nMarket data: CoinGecko\n")
    assert module.LSTM_HINT in printed
    for absent in ("sandbox", "Admin token", "trained in the background"):
        assert absent not in printed


async def test_a_path_with_brackets_is_printed_as_it_is(tmp_path: Path) -> None:
    async with fake_system(tmp_path / "[work]") as system:
        system.serve_models("lightgbm")
        running, out = start(system, StackOptions(tmp_path))
        await out.shows("Ctrl-C stops everything.")
        await interrupted(running)
    assert f"Logs: {tmp_path}/[work]/logs" in out.getvalue()


async def test_problems_of_the_upstream_are_printed_before_and_after_it_is_ready(
    system: FakeSystem, tmp_path: Path
) -> None:
    system.training.jobs["lightgbm"] = tr.Job(state=tr.JOB_STATE_RUNNING, stage="fetch")
    failing = mk.UpstreamStatus(tried=True, sentence="No such name. Check the network.", cause="dns")
    queue = mk.QueueStatus(current="history of bitcoin", in_words="history of bitcoin, 7 calls left")
    system.market.status = mk.GetStatusResponse(upstream_status=failing, queue=queue)
    running, out = start(system, StackOptions(tmp_path))
    await out.shows("No such name. Check the network.\n")
    await out.shows("history of bitcoin, 7 calls left")
    await out.shows("lightgbm: fetch")
    answering = mk.UpstreamStatus(tried=True, available=True)
    system.market.status = mk.GetStatusResponse(upstream_status=answering)
    await out.shows("The upstream answers again.")
    system.serve_models("lightgbm")
    await out.shows("Coincast is ready")
    expired = mk.UpstreamStatus(tried=True, sentence="The key has expired.", cause="invalid_key")
    system.market.status = mk.GetStatusResponse(upstream_status=expired)
    await out.shows("The key has expired.")
    printed = out.getvalue()
    assert printed.index("The upstream answers again.") < printed.index("Coincast is ready")
    assert printed.count("The key has expired.") == 1
    await interrupted(running)


async def test_what_the_first_check_found_is_handed_over_and_not_repeated(
    system: FakeSystem, tmp_path: Path
) -> None:
    system.serve_models("lightgbm")
    failing = mk.UpstreamStatus(tried=True, sentence=REFUSED.sentence, cause=REFUSED.cause)
    system.market.status = mk.GetStatusResponse(upstream_status=failing)
    options = StackOptions(tmp_path, extra_environment={"MARKET_PLAN": "demo"})
    running, out = start(system, options, FinishedCheck(REFUSED))
    await out.shows("Ctrl-C stops everything.")
    system.market.status = mk.GetStatusResponse(upstream_status=mk.UpstreamStatus(tried=True, available=True))
    await out.shows("The upstream answers again.")
    await interrupted(running)
    (launched,) = system.launched
    handed = json.loads(launched.extra_environment["MARKET_KNOWN_REFUSAL"])
    assert (handed["cause"], handed["sentence"]) == (REFUSED.cause, REFUSED.sentence)
    assert launched.extra_environment["MARKET_PLAN"] == "demo"
    assert REFUSED.sentence not in out.getvalue(), "the check has printed it"


@pytest.mark.parametrize("check", [FinishedCheck(None), FinishedCheck(None, ended=False)])
async def test_a_check_that_found_nothing_in_time_changes_nothing(
    system: FakeSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check: FinishedCheck
) -> None:
    monkeypatch.setattr(module, "HAND_OVER_SECONDS", 0.01)
    system.serve_models("lightgbm")
    options = StackOptions(tmp_path)
    running, out = start(system, options, check)
    await out.shows("Ctrl-C stops everything.")
    await interrupted(running)
    assert system.launched == [options]


async def test_a_process_that_ends_is_started_again_and_reported(system: FakeSystem, tmp_path: Path) -> None:
    system.training.jobs["lightgbm"] = tr.Job(state=tr.JOB_STATE_RUNNING)
    once = f"[ -e {tmp_path}/once ] || {{ touch {tmp_path}/once; exit 5; }}; sleep 60"
    system.run_instead("forecast", ["sh", "-c", once])
    running, out = start(system, StackOptions(tmp_path))
    await out.shows("forecast is started again now")
    assert "forecast ended with exit code 5" in out.getvalue()
    system.serve_models("lightgbm")
    await out.shows("Coincast is ready")
    await interrupted(running)


async def test_a_process_that_needs_another_setting_ends_it(system: FakeSystem, tmp_path: Path) -> None:
    system.run_instead("training", ["sh", "-c", "echo Setting TRAINING_X: wrong.; exit 2"])
    running, out = start(system, StackOptions(tmp_path))
    with pytest.raises(ChildDeathError, match=r"^Setting TRAINING_X: wrong\.$"):
        await running
    assert "stopped" not in out.getvalue()


async def test_a_start_that_takes_too_long_ends_it(
    system: FakeSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READY_SECONDS", 0.0)
    running, _ = start(system, StackOptions(tmp_path))
    with pytest.raises(StackError, match="not ready after 0 s"):
        await running


@pytest.mark.parametrize(
    ("count", "lines", "last"),
    [
        (0, 0, ""),
        (2, 2, "not used: bitcoin.csv:1 [odd]"),
        (33, 31, "not used: 3 further rows or files; http://127.0.0.1:PORT/sandbox/health has all"),
    ],
)
async def test_rows_that_the_sandbox_does_not_use_are_named(
    system: FakeSystem, count: int, lines: int, last: str
) -> None:
    unused = [f"bitcoin.csv:{number} [odd]" for number in range(count)]
    system.sandbox.by_path["/sandbox/health"] = (200, json.dumps({"set_aside": unused}).encode())
    out = io.StringIO()
    await say_unused_rows(system.idle_stack(), Console(file=out, width=160))
    printed = out.getvalue().splitlines()
    assert len(printed) == lines
    assert printed[-1:] == ([last.replace("PORT", str(system.layout.ports.sandbox))] if last else [])


@pytest.mark.parametrize("body", [b"[]", b"<html>"])
async def test_an_odd_reply_of_the_sandbox_names_nothing(system: FakeSystem, body: bytes) -> None:
    system.sandbox.by_path["/sandbox/health"] = (200, body)
    out = io.StringIO()
    await say_unused_rows(system.idle_stack(), Console(file=out))
    assert out.getvalue() == ""
