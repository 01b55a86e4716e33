"""A service as a process: what it says, when it serves, how it ends."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

ROOT = Path(__file__).resolve().parents[2]
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts toys; ends those that still run."""
    running: list[subprocess.Popen[str]] = []

    def begin(**settings: object) -> subprocess.Popen[str]:
        environment = {**os.environ, **{f"TOY_{k.upper()}": str(v) for k, v in settings.items()}}
        command = [sys.executable, str(ROOT / "tests/contract/chassis_toy.py")]
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        running.append(process)
        return process

    yield begin
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=5)


def line_with(process: subprocess.Popen[str], event: str) -> dict[str, object]:
    """The first log line of that event."""
    assert process.stdout is not None and process.stderr is not None
    for line in process.stdout:
        if line.startswith("{") and orjson.loads(line)["event"] == event:
            return orjson.loads(line)
    raise AssertionError(f"no {event!r}; stderr: {process.stderr.read()}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0_and_closes_in_reverse(start, number):
    process = start(drain_seconds=60)
    line_with(process, "serving")
    process.send_signal(number)
    out, err = process.communicate(timeout=30)  # without a call in flight it does not wait for the drain
    assert (process.returncode, err) == (0, "")
    assert out.index("last opened, first closed") < out.index("first opened, last closed")


def test_its_metrics_are_on_a_port_of_their_own(start):
    process = start()
    port = line_with(process, "listening")["metrics_port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as reply:
        text = reply.read().decode()
    for name in (
        "coincast_build_info{",
        "coincast_event_loop_lag_seconds_bucket",
        "process_resident_memory_bytes",
    ):
        assert name in text


def test_a_port_in_use_is_one_line_and_code_2(start):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for setting in ("port", "metrics_port"):
            process = start(**{setting: port})
            _, err = process.communicate(timeout=10)
            assert process.returncode == 2
            assert str(port) in err.splitlines()[-1]
            assert "Traceback" not in err


def test_it_waits_for_a_dependency_that_comes_later(start):
    process = start(fail_warm_ups=2)
    assert line_with(process, "not_ready_yet")["reason"] == "Redis is not there yet."
    line_with(process, "serving")


def test_a_signal_ends_it_while_it_waits(start):
    process = start(fail_warm_ups=100)
    line_with(process, "not_ready_yet")
    process.terminate()
    assert process.wait(timeout=5) == 0


def test_a_bad_setting_is_one_line_and_code_2(start):
    process = start(port="many")
    _, err = process.communicate(timeout=10)
    assert (process.returncode, len(err.splitlines())) == (2, 1)
    assert "TOY_PORT" in err
