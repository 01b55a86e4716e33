"""A lock between processes, which allows only one training of a model at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from coincast_chassis.errors import Conflict


@contextmanager
def model_lock(root: Path, model: str) -> Iterator[None]:
    """Hold the lock of a model during the block; the system releases it if the process dies.

    Raises:
        Conflict: Another process is training the model.
    """
    folder = root / model
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".training.lock")
    try:
        with lock.acquire(timeout=0):
            yield
    except Timeout as error:
        raise Conflict(
            f"Another process is training {model} in this folder; wait until it has finished."
        ) from error
