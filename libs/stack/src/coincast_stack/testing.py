"""For tests and benchmarks: a stack in this process's charge, driven from plain blocking code."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from coincast_stack.options import StackOptions
from coincast_stack.readiness import wait_until_ready
from coincast_stack.stack import Stack, running_stack

READY_SECONDS = 600.0
Result = TypeVar("Result")


class StackHandle:
    """A running stack: its addresses, and calls that block until done."""

    def __init__(self, stack: Stack, loop: asyncio.AbstractEventLoop) -> None:
        self.stack = stack
        self._loop = loop

    @property
    def gateway_url(self) -> str:
        """Root of the REST interface."""
        return self.stack.gateway_url

    def kill(self, name: str) -> None:
        """SIGKILL to a process and everything it started."""
        self._await(self.stack.kill(name))

    def restart(self, name: str) -> None:
        """Starts a process anew on its old port."""
        self._await(self.stack.restart(name))

    def pids(self) -> dict[str, int]:
        """Process ids by name."""
        return {name: child.pid for name, child in self.stack.children.items()}

    def _await(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=60)


@contextmanager
def stack_for_tests(options: StackOptions, *, ready: bool = True) -> Iterator[StackHandle]:
    """A stack that is ready (first models served, unless `ready` is False), ended with the block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def wait(work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    manager = running_stack(options)
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
