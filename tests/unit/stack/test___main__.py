"""The commands: their options, what they hand on, and their exit codes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from coincast_stack import demo, doctor, run
from coincast_stack.__main__ import main
from coincast_stack.doctor import Finding, Setup
from coincast_stack.errors import SetupError, StackError
from coincast_stack.options import RehearsedPlan, StackOptions, Upstream
from coincast_stack.rehearsal import rehearse
from coincast_stack.rehearsal.record import Milestone, RehearsalRecord
from coincast_stack.state_file import RunningStack, published
from tests.unit.stack.fake_system import kept_signal_handlers


@pytest.fixture(autouse=True)
def signal_handlers() -> Iterator[None]:
    with kept_signal_handlers():
        yield


class Run:
    """Records the options of `run` and does something in its place."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, error: BaseException | None = None) -> None:
        self.options: list[StackOptions] = []
        self.checks: list[object] = []
        self._error = error
        monkeypatch.setattr(run, "run", self)

    async def __call__(self, options: StackOptions, out: Console, check: object) -> None:
        self.options.append(options)
        self.checks.append(check)
        if self._error is not None:
            raise self._error


def test_run_starts_what_the_options_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    called = Run(monkeypatch)
    arguments = ["--upstream", "sandbox", "--data", str(tmp_path), "--port", "8123", "--var-dir", "v"]
    assert main(["run", *arguments, "--redis-url", "redis://r:1/0", "--api-key", "k"]) == 0
    assert main(["up", "--upstream", "sandbox"]) == 0
    options, plain = called.options
    assert (options.upstream, options.data, options.port) == (Upstream.SANDBOX, tmp_path, 8123)
    assert (options.var_dir, options.redis_url) == (Path("v"), "redis://r:1/0")
    assert (options.coingecko_api_key, options.later) == ("k", ("ml_ensemble",))
    assert (plain.data, plain.port, plain.var_dir) == (None, 8000, Path("var"))
    assert len(options.admin_token) >= 20
    assert options.admin_token != plain.admin_token
    assert called.checks == [None, None], "only CoinGecko is checked"


def test_run_reads_the_variables_of_make(monkeypatch: pytest.MonkeyPatch) -> None:
    called = Run(monkeypatch)
    given = {"UPSTREAM": "sandbox", "DATA": " ", "PORT": "8124", "VAR_DIR": "w", "COINGECKO_API_KEY": "CG-1"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert main(["run"]) == 0
    (options,) = called.options
    assert (options.data, options.port, options.var_dir) == (None, 8124, Path("w"))
    assert options.coingecko_api_key == "CG-1"
    assert "CG-1" not in repr(options)


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (StackError("it broke"), 1, "coincast: it broke\n"),
        (SetupError("set PORT="), 2, "coincast: set PORT=\n"),
        (asyncio.CancelledError(), 130, ""),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_an_error_is_a_line_and_an_exit_code(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    says: str,
) -> None:
    Run(monkeypatch, error=error)
    assert main(["run", "--upstream", "sandbox"]) == code
    assert capsys.readouterr().err == says


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_a_command_that_then_cleans_up(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    cleaned: list[bool] = []

    async def wait(*_: object) -> None:
        try:
            signal.raise_signal(number)
            await asyncio.sleep(60)
        finally:
            cleaned.append(True)

    monkeypatch.setattr(run, "run", wait)
    # asyncio handles SIGINT only where it has Python's own handler, as at the start of a command.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert main(["run", "--upstream", "sandbox"]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert cleaned == [True]


def test_a_wrong_option_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--upstream", "kraken"]) == 2
    assert "kraken" in capsys.readouterr().err


@pytest.mark.parametrize(("state", "code"), [("ok", 0), ("warning", 0), ("failed", 1)])
def test_doctor_fails_if_a_check_does(monkeypatch: pytest.MonkeyPatch, state: Any, code: int) -> None:
    examined: list[Setup] = []

    async def examine(setup: Setup) -> list[Finding]:
        examined.append(setup)
        return [Finding("Disk", state, "found")]

    monkeypatch.setattr(doctor, "examine", examine)
    monkeypatch.setenv("MARKET_PROXY_URL", "http://127.0.0.2:3128")
    monkeypatch.setenv("MARKET_UPSTREAM_CA_FILE", "/ca.pem")
    assert main(["doctor", "--port", "8125", "--redis-url", "redis://r:1/0", "--api-key", "k"]) == code
    setup = Setup(
        Path("var"), 8125, "redis://r:1/0", "k", proxy_url="http://127.0.0.2:3128", ca_file="/ca.pem"
    )
    assert examined == [setup]


@pytest.mark.parametrize("running", [True, False])
def test_import_writes_into_the_archive_of_the_stack_that_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, running: bool
) -> None:
    calls: list[tuple[list[str], dict[str, str]]] = []

    def call(arguments: list[str], env: dict[str, str]) -> int:
        calls.append((arguments, env))
        return 3

    monkeypatch.setattr(subprocess, "call", call)
    arguments = ["import", "candles", "--currency", "eur", "--var-dir", str(tmp_path)]
    if running:
        stack = RunningStack(os.getpid(), "", "", "", "", "sandbox", "/state")
        with published(tmp_path, stack):
            assert main(arguments) == 3
    else:
        assert main(arguments) == 3
    ((command, environment),) = calls
    assert command == [
        sys.executable, "-m", "coincast_market_data", "import", "candles", "--currency", "eur",
    ]  # fmt: skip
    expected = ("sandbox", "/state/archive") if running else ("coingecko", f"{tmp_path}/archive")
    assert (environment["MARKET_UPSTREAM"], environment["MARKET_ARCHIVE_DIR"]) == expected
    assert environment["PATH"] == os.environ["PATH"]


@pytest.mark.parametrize(("allowed", "code"), [(True, 0), (False, 1)])
def test_rehearse_fails_if_a_check_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], allowed: bool, code: int
) -> None:
    folders: list[Path] = []

    async def rehearsed(plan: RehearsedPlan, folder: Path, say: Any) -> RehearsalRecord:
        folders.append(folder)
        say(1.0, "services started")
        record = RehearsalRecord(plan, 10, ("bitcoin",), prices=Milestone(1.0, 1))
        record.forecasts["bitcoin"] = Milestone(1.0, 2)
        if not allowed:
            record.faults["/prices: 500"] = None
        return record

    monkeypatch.setattr(rehearse, "rehearse", rehearsed)
    assert main(["rehearse", "--plan", "basic"]) == code
    printed = capsys.readouterr().out
    assert "1.0 s  services started" in printed
    assert "plan basic: 0 calls" in printed
    assert folders[0].name.startswith("coincast-rehearsal-")
    assert not folders[0].exists()


@pytest.mark.parametrize(
    ("arguments", "train", "environment"),
    [
        ([], ("lightgbm",), {}),
        (["--model", "lstm", "--train"], ("lstm",), {"TRAINING_STARTER": "false"}),
        (["--model", "technical"], (), {}),
    ],
)
def test_demo_prints_the_reply_and_leaves_no_state(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    train: tuple[str, ...],
    environment: dict[str, str],
) -> None:
    calls: list[tuple[StackOptions, str, int, str]] = []

    async def forecast(options: StackOptions, coin: str, days: int, model: str, out: Console) -> bytes:
        calls.append((options, coin, days, model))
        assert options.var_dir.is_dir()
        return b'{"forecasts": []}'

    monkeypatch.setattr(demo, "demo", forecast)
    monkeypatch.setenv("COINGECKO_API_KEY", "CG-1")
    assert main(["demo", "--coin", "solana", "--days", "3", *arguments]) == 0
    assert capsys.readouterr().out == '{"forecasts": []}\n'
    ((options, coin, days, model),) = calls
    assert (coin, days, model) == ("solana", 3, "lightgbm" if not arguments else arguments[1])
    assert (options.train, options.extra_environment) == (train, environment)
    assert (options.coins, options.coingecko_api_key, options.port) == (("solana",), "CG-1", 0)
    assert not options.var_dir.exists()
