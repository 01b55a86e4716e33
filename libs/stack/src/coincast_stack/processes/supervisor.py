"""Supervise the processes of a stack: restart ended ones, kill and restart frozen ones."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import psutil

from coincast_stack.errors import SETUP_EXIT_CODE, ChildDeathError
from coincast_stack.processes.child import Child
from coincast_stack.processes.restart_policy import RestartPolicy

CHECK_SECONDS = 0.25
# A stopped process is killed after this time; a debugger stops a process for less.
FROZEN_SECONDS = 1.0


class Supervised(Protocol):
    """The part of a stack that the supervisor uses."""

    @property
    def children(self) -> Mapping[str, Child]:
        """Return the processes by name."""
        ...

    async def restart(self, name: str) -> None:
        """Restart a process on its old port; end it first if it still runs."""
        ...


class Supervisor:
    """Supervises all processes of a stack, each in its own task.

    A process that ends is restarted after the delay of the restart policy. A process that has been stopped
    (SIGSTOP) for a second is killed and restarted: its connections stay open, so callers would wait until
    their deadlines. A process that exits with 2 is not restarted, since a setting must be changed first.

    Args:
        stack: The processes.
        report: Called with one line for each restart.
        policy: Delays of the restarts.
    """

    def __init__(
        self, stack: Supervised, report: Callable[[str], None], policy: RestartPolicy | None = None
    ) -> None:
        self._stack = stack
        self._report = report
        self._policy = policy or RestartPolicy()
        self._frozen_since: dict[str, float] = {}

    async def run(self) -> None:
        """Supervise until cancelled.

        Raises:
            ChildDeathError: A process exited with 2, or ended again after every restart.
        """
        async with asyncio.TaskGroup() as group:
            for name in list(self._stack.children):
                self._policy.record_start(name)
                group.create_task(self._supervise(name), name=f"supervise-{name}")

    async def _supervise(self, name: str) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            child = self._stack.children[name]
            if child.exit_code is None and self._is_frozen(child):
                self._report(f"{name} has been stopped for {FROZEN_SECONDS:.0f} s and is killed")
                await child.kill()
            elif child.exit_code is None:
                continue
            await self._restart(child)

    async def _restart(self, child: Child) -> None:
        code = child.exit_code if child.exit_code is not None else -9
        death = ChildDeathError(child.name, code, child.last_lines())
        delay_seconds = None if code == SETUP_EXIT_CODE else self._policy.delay_after_end(child.name)
        if delay_seconds is None:
            raise death
        when = f"in {delay_seconds:g} s" if delay_seconds else "now"
        self._report(f"{death}\n{child.name} is started again {when}")
        await asyncio.sleep(delay_seconds)
        try:
            await self._stack.restart(child.name)
        except OSError as error:
            # The machine has no process or descriptor left, or the folder of logs cannot be written. The next
            # look finds that the process has ended, and counts that as one more failure.
            self._report(f"{child.name} could not be started: {error.strerror or error}")
            return
        self._policy.record_start(child.name)

    def _is_frozen(self, child: Child) -> bool:
        if not is_stopped(child.pid):
            self._frozen_since.pop(child.name, None)
            return False
        now = time.monotonic()
        if now - self._frozen_since.setdefault(child.name, now) < FROZEN_SECONDS:
            return False
        del self._frozen_since[child.name]
        return True


def is_stopped(pid: int) -> bool:
    """Return whether a process exists and is stopped by a signal."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.Error:
        return False
