"""The reaper ends what is still listed when its client closes, and a stack runs on without it."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import psutil

from coincast_stack.processes.child import Child, Command
from coincast_stack.processes.reaper_client import ReaperClient

SLEEP = Command("x", ("sleep", "60"))


async def test_a_group_that_is_listed_is_ended_and_one_that_was_removed_is_not(tmp_path: Path) -> None:
    reaper = ReaperClient()
    listed = await Child.start(SLEEP, tmp_path, reaper, os.environ)
    removed = await Child.start(SLEEP, tmp_path, reaper, os.environ)
    reaper.remove(removed.pid)
    reaper.close()
    assert await listed.wait() == -signal.SIGTERM
    assert removed.exit_code is None
    os.kill(removed.pid, signal.SIGKILL)
    await removed.wait()


async def test_a_process_starts_and_ends_without_a_reaper(tmp_path: Path) -> None:
    others = set(psutil.Process().children())
    with contextlib.closing(ReaperClient()) as reaper:
        (process,) = set(psutil.Process().children()) - others
        process.kill()
        process.wait()
        child = await Child.start(SLEEP, tmp_path, reaper, os.environ)
        assert child.exit_code is None
        await child.stop(10)
        assert child.exit_code == -signal.SIGTERM
