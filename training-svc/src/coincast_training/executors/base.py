"""What an executor is, and which one an address names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from threadpoolctl import threadpool_limits

from coincast_chassis.errors import InvalidInput

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Result = TypeVar("Result")
ROUNDS = 3


class Executor(Protocol):
    """Maps a pure function over parts. Results come in the order of the parts, wherever each was computed.

    A worker that is killed costs the time of its parts: they are done again elsewhere, at most three times.
    """

    @property
    def width(self) -> int:
        """How many parts run at once."""
        ...

    def map(
        self,
        work: Callable[[Shared, Item], Result],
        shared: Shared,
        items: Sequence[Item],
        *,
        heard: Callable[[int], None] | None = None,
    ) -> list[Result]:
        """`[work(shared, item) for item in items]`; `heard` hears how many are done."""
        ...


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


class InlineExecutor:
    """One part after another in this process."""

    width = 1

    def map(
        self,
        work: Callable[[Shared, Item], Result],
        shared: Shared,
        items: Sequence[Item],
        *,
        heard: Callable[[int], None] | None = None,
    ) -> list[Result]:
        """See Executor."""
        results: list[Result] = []
        for item in items:
            results.append(run_part(work, shared, item))
            if heard is not None:
                heard(len(results))
        return results


def run_part(work: Callable[[Any, Any], Any], shared: Any, item: Any) -> Any:
    """One part, with one thread of linear algebra: several add up in another order, which gives other last
    digits, and they would fight over the cores of the other workers.
    """
    with threadpool_limits(limits=1):
        return work(shared, item)
