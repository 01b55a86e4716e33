"""A daemon thread that runs calls off the event loop, one at a time, with a time limit.

A thread that hangs in native code cannot be stopped: it counts as stuck, refuses further calls at once, and
does not keep the process from ending.
"""

from __future__ import annotations

import asyncio
import ctypes
import sys
import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


_SWITCH_SECONDS = 0.00002
_PR_SET_TIMERSLACK = 29


def shorten_switch_interval() -> None:
    """Shorten the interpreter's switch interval, so that the event loop gets the GIL soon.

    Call it on the loop's thread. A model's many short calls into C release the GIL and take it again, and
    each restarts the interval for which the loop waits: only an interval shorter than such a call lets the
    loop run before the batch is done. Linux lets a wait run 50 microseconds over, which would be most of it.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)
    if sys.platform == "linux":
        # Where it is not permitted (the result is not 0), the loop is merely later.
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(1), 0, 0, 0)


class ThreadStuckError(Exception):
    """An earlier call has outlived its limit and still runs."""


class WorkerThread:
    """Runs calls in order on one thread."""

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._turn = asyncio.Lock()
        self._stuck = False
        # The thread references the queue, not this object, so that it ends once this object is collected.
        threading.Thread(target=_work, args=(self._jobs,), name=name, daemon=True).start()
        self._end = weakref.finalize(self, self._jobs.put, None)

    @property
    def stuck(self) -> bool:
        """Return whether a call has outlived its limit and still runs."""
        return self._stuck

    async def run(self, call: Callable[[], T], *, limit_seconds: float | None = None) -> T:
        """Return the call's result.

        Args:
            call: Runs in the thread.
            limit_seconds: The maximum time to wait; None for no limit.

        Raises:
            TimeoutError: The call outlived `limit_seconds`; it keeps running and blocks this thread.
            ThreadStuckError: An earlier call still hangs.
        """
        async with self._turn:
            if self._stuck:
                raise ThreadStuckError("an earlier call still hangs")
            future = self._submit(call)
            done, _ = await asyncio.wait([future], timeout=limit_seconds)
            if not done:
                self._stuck = True
                future.add_done_callback(self._clear_stuck)
                raise TimeoutError(f"no answer within {limit_seconds:g} s")
            return await future

    def stop(self) -> None:
        """Let the thread end after its current call, without waiting for it."""
        self._end()

    def _submit(self, call: Callable[[], T]) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def settle(result: T | None, error: BaseException | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]  # no error means that there is a T

        def job() -> None:
            result: T | None = None
            error: BaseException | None = None
            try:
                result = call()
            except Exception as caught:  # raised in the caller
                # A future cannot hold StopIteration: the caller would wait forever.
                error = RuntimeError(repr(caught)) if isinstance(caught, StopIteration) else caught
            if not loop.is_closed():
                loop.call_soon_threadsafe(settle, result, error)

        self._jobs.put(job)
        return future

    def _clear_stuck(self, future: asyncio.Future[Any]) -> None:
        self._stuck = False
        if not future.cancelled():
            future.exception()  # retrieved: its caller is gone


def _work(jobs: SimpleQueue[Callable[[], None] | None]) -> None:
    while (job := jobs.get()) is not None:
        job()
        del job  # it holds the last result, which may be large
