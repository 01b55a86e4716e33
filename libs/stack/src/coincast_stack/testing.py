"""Run a stack for tests and benchmarks, with blocking calls."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from coincast_stack.options import StackOptions
from coincast_stack.stack import Launch, Stack, running_stack
from coincast_stack.status.readiness import wait_until_ready

READY_SECONDS = 600.0
Result = TypeVar("Result")


class StackHandle:
    """A running stack, controlled with blocking calls."""

    def __init__(self, stack: Stack, loop: asyncio.AbstractEventLoop) -> None:
        self.stack = stack
        self._loop = loop

    @property
    def gateway_url(self) -> str:
        """Return the root URL of the REST API."""
        return self.stack.gateway_url

    def kill(self, name: str) -> None:
        """Kill a process and its children."""
        self._await(self.stack.kill(name))

    def restart(self, name: str) -> None:
        """Restart a process on its old port."""
        self._await(self.stack.restart(name))

    def pids(self) -> dict[str, int]:
        """Return the process ids by name."""
        return {name: child.pid for name, child in self.stack.children.items()}

    def _await(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=60)


@contextmanager
def stack_for_tests(
    options: StackOptions, *, ready: bool = True, launch: Launch = running_stack
) -> Iterator[StackHandle]:
    """Run a stack for the block; wait until it is ready, unless `ready` is False."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def wait(work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    manager = launch(options)
    try:
        stack = wait(manager.__aenter__())
        try:
            if ready:
                wait(wait_until_ready(stack, options.train, lambda text, share: None, READY_SECONDS))
            yield StackHandle(stack, loop)
        finally:
            wait(manager.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
