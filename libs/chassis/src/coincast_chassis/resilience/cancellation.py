"""Cancel tasks for certain."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

CANCEL_AGAIN_SECONDS = 2.0


async def cancel_and_wait(
    tasks: Iterable[asyncio.Future[Any]], *, again_after_seconds: float = CANCEL_AGAIN_SECONDS
) -> None:
    """Cancel tasks and wait until they have ended; their results and errors are not raised.

    Cancelling once is not enough: `asyncio.wait_for` of Python 3.11 returns normally, and with it every
    library that uses it, if what it waits for ends in the moment of the cancellation. A loop around such a
    call then runs on, and its owner waits for its end forever.

    Args:
        tasks: The tasks; ended ones may be among them.
        again_after_seconds: When unfinished tasks are cancelled again. It must be longer than what they do
            on their cancellation, which a second one interrupts.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        ended, pending = await asyncio.wait(pending, timeout=again_after_seconds)
        for task in ended:
            if not task.cancelled():
                task.exception()  # mark it as retrieved
