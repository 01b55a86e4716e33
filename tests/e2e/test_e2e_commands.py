"""`run` and `demo` as started by a user: output, exit codes, remaining processes."""

import itertools
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2
import psutil
import pytest

from coincast_stack.processes.ports import free_port
from tests.e2e.conftest import copy_newest
from tests.integration.training_rig import QUICK_RECIPES

pytestmark = pytest.mark.timeout(600)
COMMAND = [sys.executable, "-m", "coincast_stack"]
LSTM_HINT = (
    "The lstm model is not trained here: TensorFlow is not installed. make setup-lstm adds it (500 MB)."
)
MAKE_RUN = ["make", "--no-print-directory", "run"]
REPOSITORY = Path(__file__).resolve().parents[2]
# How much longer a start may take where others keep the processors busy, however busy they are.
MOST_ALLOWANCE = 2.0
QUICK = {"TRAINING_COINS": "bitcoin,ethereum", "TRAINING_STARTER": "false"}
# The quality of the models does not matter here: few trees on few days.
FEW_TREES = {"TRAINING_CONFIG_DIR": str(QUICK_RECIPES), "TRAINING_BOOTSTRAP_DAYS": "400"}


@pytest.fixture
def few_candles(daily_candles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two coins: a system fetches the whole history of every coin that it replays."""
    folder = tmp_path_factory.mktemp("candles")
    copy_newest(daily_candles, folder, ("bitcoin", "ethereum"))
    return folder


def environment(**changes: str) -> dict[str, str]:
    dropped = {"UPSTREAM", "DATA", "PORT", "REDIS_URL", "COIN", "DAYS", "MODEL", "VAR_DIR"}
    return (
        {k: v for k, v in os.environ.items() if k not in dropped}
        | {"UPSTREAM": "sandbox"}
        | FEW_TREES
        | changes
    )


def processes_of(marker: str, command: str = "") -> dict[int, str]:
    """Command lines by process id, of those that carry the marker in their environment."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_text().replace("\0", " ")
            if line and command in line and marker.encode() in (folder / "environ").read_bytes():
                found[int(folder.name)] = line
        except OSError:
            continue
    return found


def without_tensorflow(folder: Path) -> str:
    """A folder for PYTHONPATH in which every Python process starts as if TensorFlow were not installed."""
    blind = folder / "blind"
    blind.mkdir()
    lines = ["import sys", "for name in ('tensorflow', 'keras'): sys.modules[name] = None"]
    (blind / "sitecustomize.py").write_text("\n".join(lines))
    return str(blind)


@contextmanager
def running(var: Path, marker: str, **variables: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    port = free_port()
    given = {"VAR_DIR": str(var), "PORT": str(port), "E2E_MARKER": marker, "PYTHONUNBUFFERED": "1"}
    env = environment(**given, **variables)
    process = subprocess.Popen(
        MAKE_RUN,
        cwd=REPOSITORY,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process, port
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_ready(process: subprocess.Popen[str]) -> tuple[str, float]:
    """What was printed until the line that says ready, and how long it took."""
    assert process.stdout is not None
    began, lines = time.monotonic(), []
    for line in process.stdout:
        lines.append(line)
        if "Coincast is ready" in line:
            return "".join(lines), time.monotonic() - began
    raise AssertionError("never ready:\n" + "".join(lines))


def nothing_left(marker: str, seconds: float) -> float:
    began = time.monotonic()
    while left := processes_of(marker):
        assert time.monotonic() - began < seconds, f"still running: {left}"
        time.sleep(0.05)
    return time.monotonic() - began


def allowance(seconds: float = 2.0) -> float:
    """How many others want each processor, while nothing of this test runs: 1 where none has to wait, never
    more than MOST_ALLOWANCE.
    """
    wanted, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        (running,) = re.findall(r"^procs_running (\d+)$", Path("/proc/stat").read_text(), re.MULTILINE)
        wanted.append(int(running) - 1)  # this process reads
        time.sleep(0.02)
    return min(MOST_ALLOWANCE, max(1.0, statistics.mean(wanted) / (os.cpu_count() or 1)))


def busy_seconds() -> float:
    """Return the processor time used since the boot, by all processes and by other virtual machines."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + getattr(times, "steal", 0.0))


def own_seconds(pid: int) -> float:
    """Return the processor time of a process and of its children that have ended; 0 once it is gone."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)


def test_run_starts_says_so_and_ends_on_ctrl_c(few_candles: Path, tmp_path: Path) -> None:
    """Run `make run` twice. The second start has 15 s on processors of its own.

    Where others use a share of them meanwhile, it may take longer in proportion.
    """
    marker, data = f"e2e-run-{os.getpid()}", {"DATA": str(few_candles)}
    with running(tmp_path, marker, **data, PYTHONPATH=without_tensorflow(tmp_path)) as (process, port):
        printed, _ = wait_ready(process)
        assert "NOT REAL MARKET DATA" in printed
        assert LSTM_HINT in printed.replace("\n", " ")
        reply = httpx2.get(
            f"http://127.0.0.1:{port}/forecasts?ids=bitcoin&days=2", timeout=30, trust_env=False
        )
        assert reply.json()["forecasts"][0]["source"] == "sandbox"
        stop_seconds = check_ctrl_c(process, marker)
    with running(tmp_path, marker, **data) as (process, _):
        busy, began = busy_seconds(), time.monotonic()
        _, ready_seconds = wait_ready(process)
        own = sum(own_seconds(each) for each in processes_of(marker))
        capacity = (time.monotonic() - began) * (os.cpu_count() or 1)
        others = min(1.0, max(0.0, busy_seconds() - busy - own) / capacity)
        allowed = 15 / max(0.05, 1 - others)
        check_death_is_reported(process, marker, tmp_path)
        (stack,) = processes_of(marker, "coincast_stack run")
        os.kill(stack, signal.SIGKILL)
        nothing_left(marker, 10)
    print(f"second start ready in {ready_seconds:.1f} s (limit {allowed:.1f})")
    print(f"nothing left {stop_seconds:.1f} s after Ctrl-C (limit 10)")
    assert ready_seconds < allowed


def check_ctrl_c(process: subprocess.Popen[str], marker: str) -> float:
    """Ctrl-C as a terminal sends it, to make and what it runs; seconds until nothing was left."""
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    rest, _ = process.communicate(timeout=15)
    nothing_left(marker, 10)
    seconds = time.monotonic() - began
    assert seconds < 10
    assert rest.splitlines()[-1] == "stopped", "make tells of an exit code that is not 0 in a line of its own"
    return seconds


def check_death_is_reported(process: subprocess.Popen[str], marker: str, var: Path) -> None:
    """Kills market-data under a running stack; the stack must name it, show what it logged last, and start it
    again.
    """
    (pid,) = processes_of(marker, "coincast_market_data")
    os.kill(pid, signal.SIGKILL)
    assert process.stdout is not None
    for line in process.stdout:
        if "market ended with exit code -9; its last log lines:" in line:
            break
    else:
        raise AssertionError("the death was not reported")
    lines = itertools.takewhile(lambda line: line.startswith("    "), process.stdout)
    reported = "".join(line.removeprefix("    ") for line in lines)
    (log,) = var.glob("sandbox/*/logs/market.log")
    assert '"event":"serving"' in reported
    assert reported in log.read_text()
    deadline = time.monotonic() + 10
    while not [new for new in processes_of(marker, "coincast_market_data") if new != pid]:
        assert time.monotonic() < deadline, "market-data was not started again"
        time.sleep(0.05)


def test_demo_ends_with_the_gateways_reply(few_candles: Path) -> None:
    marker = f"e2e-demo-{os.getpid()}"
    env = environment(DATA=str(few_candles), COIN="ethereum", DAYS="5", E2E_MARKER=marker, **QUICK)
    done = subprocess.run(
        [*COMMAND, "demo"], env=env, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    nothing_left(marker, 5)
    lines = done.stdout.splitlines()
    (forecast,) = json.loads(lines[-1])["forecasts"]
    assert (forecast["id"], forecast["served_by"], len(forecast["points"])) == ("ethereum", "lightgbm", 5)
    assert any("95 % interval" in line for line in lines)
    assert any("artifacts/lightgbm/v000001" in line for line in lines)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_interrupted_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    marker = f"e2e-stopped-{os.getpid()}-{number}"
    # A shell's background jobs ignore an interrupt, and what they start would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    env = environment(E2E_MARKER=marker, TMPDIR=str(tmp_path), PYTHONUNBUFFERED="1")
    with subprocess.Popen([*COMMAND, "demo"], env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while "waiting" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(number)
        assert process.wait(timeout=15) == 130
    nothing_left(marker, 5)
    assert list(tmp_path.glob("coincast-demo-*")) == []


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"DATA": "/no/such/folder"}, "no such folder of candles: /no/such/folder"),
        ({"PORT": "{taken}"}, "cannot be used"),
        (
            {"DATA": "{broken}"},
            "not used: bitcoin.csv line 2: price not a number",
        ),
        ({"REDIS_URL": "redis://127.0.0.1:1/0"}, "REDIS_URL does not answer"),
        ({"GATEWAY_LOG_LEVEL": "loud"}, "GATEWAY_LOG_LEVEL"),
    ],
)
def test_bad_setups_are_one_line_and_exit_code_2(
    tmp_path: Path, variables: dict[str, str], message: str
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    rows = "date,open,high,low,close,volume_usd\n2025-01-01,1,2,0.5,x,1\n2025-01-02,1,2,0.5,1,1\n"
    (broken / "bitcoin.csv").write_text(rows)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        places = {"taken": str(taken.getsockname()[1]), "broken": str(broken)}
        filled = {k: v.format(**places) for k, v in variables.items()}
        env = environment(**{"VAR_DIR": str(tmp_path / "var"), "PORT": str(free_port()), **filled})
        done = subprocess.run(
            [*COMMAND, "run"], env=env, capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_two_stacks_cannot_share_their_state(tmp_path: Path) -> None:
    marker = f"e2e-twice-{os.getpid()}"
    with running(tmp_path, marker, DATA="") as (process, _):
        assert process.stdout is not None
        while not (tmp_path / "sandbox" / "simulated" / "logs" / "redis.log").exists():
            time.sleep(0.05)
        env = environment(VAR_DIR=str(tmp_path), PORT=str(free_port()))
        second = subprocess.run(
            [*COMMAND, "run"], env=env, capture_output=True, text=True, timeout=60, check=False
        )
        assert second.returncode == 2
        assert "another stack runs on" in second.stderr
    nothing_left(marker, 10)
