"""One training of a model at a time, whichever process starts it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from coincast_chassis.errors import Conflict


@contextmanager
def model_lock(root: Path, model: str) -> Iterator[None]:
    """Holds the model for the block. Raises `Conflict` where another process trains it; a killed one lets
    go.
    """
    folder = root / model
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".training.lock")
    try:
        with lock.acquire(timeout=0):
            yield
    except Timeout as error:
        raise Conflict(
            f"Another process trains {model} on this folder now; wait until it is done."
        ) from error
