"""Open executors by their address."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from coincast_chassis.errors import InvalidInput
from coincast_training.executors.base import Executor
from coincast_training.executors.inline import InlineExecutor


@contextmanager
def open_executor(address: str | Executor) -> Iterator[Executor]:
    """Yield the executor of an address: `inline`, `processes`, `processes:4` or `dask:tcp://host:8786`.

    If `address` is an open executor, it is yielded and stays open, so that several runs can share it.

    Raises:
        InvalidInput: The address is wrong, or Dask is not installed.
    """
    if not isinstance(address, str):
        yield address
        return
    kind, rest = parts_of(address)
    if kind == "inline":
        yield InlineExecutor()
    elif kind == "processes":
        from coincast_training.executors.processes import open_processes  # noqa: PLC0415 - only where it is used

        with open_processes(int(rest) if rest else os.cpu_count() or 1) as executor:
            yield executor
    else:
        if find_spec("distributed") is None:
            raise InvalidInput(
                "A Dask cluster needs the extra `dask`: pip install 'coincast-training[dask]'.",
                field="executor",
            )
        from coincast_training.executors.dask import open_dask  # noqa: PLC0415 - only where it is used

        with open_dask(rest) as executor:
            yield executor


def parts_of(address: str) -> tuple[str, str]:
    """Split the address of an executor into its kind and the rest.

    Raises:
        InvalidInput: The kind or the number of workers is wrong.
    """
    kind, _, rest = address.partition(":")
    if kind == "processes" and rest and not (rest.isdecimal() and 1 <= int(rest) <= 256):
        raise InvalidInput(f"processes:N takes 1 to 256 workers; it is {rest!r}.", field="executor")
    if address == "inline" or kind == "processes" or (kind == "dask" and rest):
        return kind, rest
    raise InvalidInput(
        f"executor must be inline, processes, processes:N or dask:tcp://host:port; it is {address!r}.",
        field="executor",
    )
