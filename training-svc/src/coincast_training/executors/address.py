"""Which executor an address names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from coincast_chassis.errors import InvalidInput
from coincast_training.executors.base import Executor
from coincast_training.executors.inline import InlineExecutor


@contextmanager
def open_executor(address: str) -> Iterator[Executor]:
    """The executor that an address names: `inline`, `processes`, `processes:4` or `dask:tcp://host:8786`."""
    kind, _, rest = address.partition(":")
    if kind == "inline":
        yield InlineExecutor()
    elif kind == "processes":
        from coincast_training.executors.processes import open_processes  # noqa: PLC0415 - only where it is used

        with open_processes(_workers(rest)) as executor:
            yield executor
    elif kind == "dask" and rest:
        from coincast_training.executors.dask import open_dask  # noqa: PLC0415 - only where it is used

        with open_dask(rest) as executor:
            yield executor
    else:
        raise InvalidInput(
            f"executor must be inline, processes, processes:N or dask:tcp://host:port; it is {address!r}.",
            field="executor",
        )


def _workers(text: str) -> int:
    if not text:
        return os.cpu_count() or 1
    if not text.isdigit() or not 1 <= int(text) <= 256:
        raise InvalidInput(f"processes:N takes 1 to 256 workers; it is {text!r}.", field="executor")
    return int(text)
