"""Supervision with real processes: what ends or freezes comes back, each by itself, and a line says so."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from coincast_chassis.resilience.cancellation import cancel_and_wait
from coincast_stack.errors import ChildDeathError
from coincast_stack.processes import supervisor
from coincast_stack.processes.child import Child, Command
from coincast_stack.processes.reaper_client import ReaperClient
from coincast_stack.processes.supervisor import CHECK_SECONDS, FROZEN_SECONDS, Supervisor, is_stopped

SLEEP = "import time; time.sleep(60)"


class Processes:
    """Children by name, restarted as a stack does it."""

    def __init__(self, folder: Path, reaper: ReaperClient) -> None:
        self.children: dict[str, Child] = {}
        self.folder, self._reaper = folder, reaper

    async def start(self, name: str, script: str) -> None:
        command = Command(name, [sys.executable, "-c", script])
        self.children[name] = await Child.start(command, self.folder, self._reaper, os.environ)

    async def restart(self, name: str) -> None:
        command = self.children[name].command
        await self.children[name].kill()
        self.children[name] = await Child.start(command, self.folder, self._reaper, os.environ)


@pytest.fixture
async def processes(tmp_path: Path) -> AsyncIterator[Processes]:
    with contextlib.closing(ReaperClient()) as reaper:
        found = Processes(tmp_path, reaper)
        yield found
        await asyncio.gather(*(child.kill() for child in found.children.values()))


@contextlib.asynccontextmanager
async def supervised(processes: Processes, lines: list[str]) -> AsyncIterator[None]:
    task = asyncio.create_task(Supervisor(processes, lines.append).run())
    yield
    await cancel_and_wait([task])


async def replaced(processes: Processes, name: str, pid: int, within_seconds: float) -> float:
    """Wait until the process runs under another id; return the seconds that took."""
    began = time.monotonic()
    async with asyncio.timeout(within_seconds + 10):
        while processes.children[name].pid == pid or processes.children[name].exit_code is not None:  # noqa: ASYNC110 - a process has no event
            await asyncio.sleep(0.02)
    return time.monotonic() - began


async def test_a_killed_process_comes_back_and_its_neighbour_is_left_alone(processes: Processes) -> None:
    await processes.start("market", SLEEP)
    await processes.start("forecast", SLEEP)
    neighbour, pid, lines = processes.children["forecast"].pid, processes.children["market"].pid, list[str]()
    async with supervised(processes, lines):
        await asyncio.sleep(0)
        processes.children["market"].send(signal.SIGKILL)
        await replaced(processes, "market", pid, 2)
    assert processes.children["forecast"].pid == neighbour
    assert ["market ended with exit code -9" in line for line in lines] == [True]
    assert "market is started again now" in lines[0]


@pytest.mark.slow
async def test_a_frozen_process_is_treated_as_dead_after_a_second(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []

    def watched(pid: int) -> bool:
        seen.append(is_stopped(pid))
        return seen[-1]

    monkeypatch.setattr(supervisor, "is_stopped", watched)
    await processes.start("market", SLEEP)
    pid, lines = processes.children["market"].pid, list[str]()
    async with supervised(processes, lines):
        await asyncio.sleep(0)
        processes.children["market"].send(signal.SIGSTOP)
        await replaced(processes, "market", pid, 2)
    # Looked at every 0.25 s and given a second: a busy machine can only make it fewer looks.
    assert 2 <= seen.count(True) <= FROZEN_SECONDS / CHECK_SECONDS + 1
    assert "market has been stopped" in lines[0]


@pytest.mark.slow
async def test_a_process_that_is_continued_in_time_is_left_alone(processes: Processes) -> None:
    await processes.start("market", SLEEP)
    pid, lines = processes.children["market"].pid, list[str]()
    async with supervised(processes, lines):
        processes.children["market"].send(signal.SIGSTOP)
        await asyncio.sleep(0.4)
        processes.children["market"].send(signal.SIGCONT)
        await asyncio.sleep(1.2)
    assert (processes.children["market"].pid, lines) == (pid, [])


@pytest.mark.parametrize(
    "log", ["removed", "folder of logs removed", "a folder", "a pipe", "a link to nothing"]
)
async def test_a_killed_process_comes_back_whatever_became_of_its_log(
    processes: Processes, tmp_path: Path, log: str
) -> None:
    processes.folder = tmp_path / "logs"
    await processes.start("market", SLEEP)
    path = tmp_path / "logs/market.log"
    path.unlink()
    match log:
        case "folder of logs removed":
            path.parent.rmdir()
        case "a folder":
            path.mkdir()
        case "a pipe":
            os.mkfifo(path)
        case "a link to nothing":
            path.symlink_to("/nowhere/at/all")
    pid, lines = processes.children["market"].pid, list[str]()
    async with supervised(processes, lines):
        processes.children["market"].send(signal.SIGKILL)
        await replaced(processes, "market", pid, 2)
    assert "market is started again now" in lines[0]


@pytest.mark.slow
async def test_a_process_that_cannot_be_started_is_tried_again_with_the_back_off(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("market", "gateway"):
        await processes.start(name, SLEEP)
    real, attempts = Child.start, []

    async def start(command: Command, *rest: Any) -> Child:
        attempts.append(command.name)
        if len(attempts) <= 2:
            raise OSError(11, "Resource temporarily unavailable")
        return await real(command, *rest)

    monkeypatch.setattr(Child, "start", start)
    pid, other, lines = processes.children["market"].pid, processes.children["gateway"].pid, list[str]()
    async with supervised(processes, lines):
        processes.children["market"].send(signal.SIGKILL)
        await replaced(processes, "market", pid, 5)
    assert attempts == ["market"] * 3
    assert [line for line in lines if "could not be started: Resource temporarily unavailable" in line]
    assert processes.children["gateway"].pid == other


async def test_a_process_that_needs_another_setting_ends_the_stack(processes: Processes) -> None:
    await processes.start("market", "print('Setting MARKET_PORT: wrong.'); raise SystemExit(2)")
    with pytest.raises(ExceptionGroup) as caught:
        await asyncio.wait_for(Supervisor(processes, lambda line: None).run(), 20)
    death = caught.value.exceptions[0]
    assert isinstance(death, ChildDeathError)
    assert (death.exit_code, str(death)) == (2, "Setting MARKET_PORT: wrong.")
