"""A child process: its environment and log, and signals to one that has just ended."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from coincast_stack.processes.child import Child, Command, writable_log
from coincast_stack.processes.reaper_client import ReaperClient


@pytest.fixture
def reaper() -> Iterator[ReaperClient]:
    with contextlib.closing(ReaperClient()) as running:
        yield running


def has_ended(pid: int) -> bool:
    """Return whether a process has ended; it is a zombie until its exit code has been collected."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_ended(pid: int) -> None:
    """Wait until a process has ended, without a turn of the event loop.

    Python 3.11 collects an exit code in a thread, later versions in the event loop.
    """
    deadline = time.monotonic() + 60
    while not has_ended(pid):
        assert time.monotonic() < deadline
        time.sleep(0.005)


async def test_its_environment_is_its_own_over_that_of_the_stack(
    tmp_path: Path, reaper: ReaperClient
) -> None:
    command = Command("x", ["sh", "-c", "echo $SHARED $OWN"], {"OWN": "own"})
    base = {"PATH": os.environ["PATH"], "SHARED": "shared", "OWN": "other"}
    child = await Child.start(command, tmp_path, reaper, base)
    assert await child.wait() == 0
    assert (child.name, child.exit_code, child.last_lines()) == ("x", 0, ["shared own"])


async def test_a_log_is_continued(tmp_path: Path, reaper: ReaperClient) -> None:
    (tmp_path / "x.log").write_text("before\n")
    child = await Child.start(Command("x", ["echo", "after"]), tmp_path, reaper, os.environ)
    await child.wait()
    assert child.last_lines() == ["before", "after"]
    assert child.last_lines(1) == ["after"]


async def test_a_process_that_has_just_ended_can_be_stopped(tmp_path: Path, reaper: ReaperClient) -> None:
    child = await Child.start(Command("x", ["sleep", "0.1"]), tmp_path, reaper, os.environ)
    wait_ended(child.pid)
    await child.stop(10)
    child.send(signal.SIGTERM)
    assert child.exit_code == 0


def test_a_log_that_cannot_be_one_is_the_null_device(tmp_path: Path) -> None:
    assert writable_log(tmp_path / "logs" / "x.log") == tmp_path / "logs" / "x.log"
    (tmp_path / "folder.log").mkdir()
    assert writable_log(tmp_path / "folder.log") == Path(os.devnull)
