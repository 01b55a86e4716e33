"""Return freed memory to the system periodically, so that large batches do not keep the process large.

glibc keeps memory that was freed in the middle of an arena until malloc_trim is called. With another C
library this module does nothing.
"""

from __future__ import annotations

import asyncio
import ctypes
from functools import cache


@cache
def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(None)
        library.malloc_trim  # noqa: B018 - raises AttributeError if the library has none
    except (OSError, AttributeError):
        return None
    return library


def trim() -> None:
    """Return free memory to the system; this takes milliseconds and releases the GIL."""
    library = _library()
    if library is not None:
        library.malloc_trim(0)


async def trim_periodically(every_seconds: float) -> None:
    """Trim periodically, off the event loop."""
    while True:
        await asyncio.sleep(every_seconds)
        await asyncio.to_thread(trim)
