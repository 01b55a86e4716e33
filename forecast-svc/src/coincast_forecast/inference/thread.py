"""A daemon thread that runs calls off the event loop, one at a time, with a time limit.

A thread that hangs in native code cannot be stopped. It is then marked as stuck and refuses further calls at
once; as a daemon thread it does not prevent the process from exiting.
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
    """Shorten the interpreter's switch interval, so that the event loop gets the GIL sooner.

    Call it on the thread of the event loop. A model makes many short calls into C, which release the GIL and
    take it again. Each such switch restarts the interval after which the waiting loop requests the GIL, so
    the loop runs before the end of the batch only if the interval is shorter than these calls. On Linux a
    wait may end 50 microseconds late (the timer slack), which is longer than the interval, so the slack is
    reduced too.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)
    if sys.platform == "linux":
        # If this is not permitted (the result is not 0), the loop only gets its turn later.
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(1), 0, 0, 0)


class ThreadStuckError(Exception):
    """An earlier call exceeded its time limit and still runs."""


class WorkerThread:
    """Runs calls in order on one daemon thread."""

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._turn = asyncio.Lock()
        self._stuck = False
        # The thread references only the queue, so that it ends when this object is garbage-collected.
        threading.Thread(target=_work, args=(self._jobs,), name=name, daemon=True).start()
        self._end = weakref.finalize(self, self._jobs.put, None)

    @property
    def stuck(self) -> bool:
        """Return whether a call exceeded its time limit and still runs."""
        return self._stuck

    async def run(self, call: Callable[[], T], *, limit_seconds: float | None = None) -> T:
        """Run a call on the thread; return its result.

        Args:
            call: The call.
            limit_seconds: Time limit of the wait; None for no limit.

        Raises:
            TimeoutError: The call exceeded `limit_seconds`; it continues and blocks this thread.
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
        """Stop the thread after its current call; do not wait for it."""
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
                future.set_result(result)  # type: ignore[arg-type]  # without an error, result is a T

        def job() -> None:
            result: T | None = None
            error: BaseException | None = None
            try:
                result = call()
            except Exception as caught:  # re-raised in the caller
                # A future cannot hold a StopIteration, and the caller would wait forever.
                error = RuntimeError(repr(caught)) if isinstance(caught, StopIteration) else caught
            if not loop.is_closed():
                loop.call_soon_threadsafe(settle, result, error)

        self._jobs.put(job)
        return future

    def _clear_stuck(self, future: asyncio.Future[Any]) -> None:
        self._stuck = False
        if not future.cancelled():
            future.exception()  # Mark it as retrieved: the caller has timed out.


def _work(jobs: SimpleQueue[Callable[[], None] | None]) -> None:
    while (job := jobs.get()) is not None:
        job()
        del job  # Release the last result, which may be large.
