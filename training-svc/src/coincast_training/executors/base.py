"""What an executor is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from threadpoolctl import threadpool_limits

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


def run_part(work: Callable[[Any, Any], Any], shared: Any, item: Any) -> Any:
    """One part, with one thread of linear algebra: several add up in another order, which gives other last
    digits, and they would fight over the cores of the other workers.
    """
    with threadpool_limits(limits=1):
        return work(shared, item)
