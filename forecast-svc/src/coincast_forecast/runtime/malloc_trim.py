"""Keeps the process small: what large batches took for a moment goes back to the system.

glibc keeps what is freed in the middle of an arena resident until it is told to give it back.
Does nothing where the C library is another.
"""

import asyncio
import ctypes
from functools import cache


@cache
def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(None)
        library.malloc_trim  # noqa: B018 - AttributeError where it has none
    except (OSError, AttributeError):
        return None
    return library


def trim() -> None:
    """Give what is free to the system: milliseconds, without the interpreter's lock."""
    library = _library()
    if library is not None:
        library.malloc_trim(0)


async def trim_periodically(every_seconds: float) -> None:
    """Give back for ever, off the loop."""
    while True:
        await asyncio.sleep(every_seconds)
        await asyncio.to_thread(trim)
