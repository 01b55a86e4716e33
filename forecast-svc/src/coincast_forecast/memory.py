"""Keeps the process small: what large batches took for a moment goes back to the system.

glibc keeps up to eight arenas a core, each as large as it once was, and what is freed in the middle of one
stays resident. Does nothing where the C library is another.
"""

import asyncio
import ctypes
from functools import cache

M_ARENA_MAX = -8
M_MMAP_THRESHOLD = -3
MAPPED_BYTES = 256 * 1024


@cache
def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(None)
        library.mallopt, library.malloc_trim  # noqa: B018 - AttributeError where it has none
    except (OSError, AttributeError):
        return None
    return library


def share() -> None:
    """Have all threads take memory from one place, and large arrays from pages of their own. Call it before
    threads start.
    """
    library = _library()
    if library is not None:
        library.mallopt(M_ARENA_MAX, 1)
        library.mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES)


def give_back() -> None:
    """Give what is free to the system: milliseconds, without the interpreter's lock."""
    library = _library()
    if library is not None:
        library.malloc_trim(0)


async def keep_giving_back(every_seconds: float) -> None:
    """Give back for ever, off the loop."""
    while True:
        await asyncio.sleep(every_seconds)
        await asyncio.to_thread(give_back)
