"""Interface of executors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from threadpoolctl import threadpool_limits

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Result = TypeVar("Result")
ROUNDS = 3


class Executor(Protocol):
    """Map a pure function over parts. Results are in the order of the parts, wherever each was computed.

    The parts of a killed worker are computed again elsewhere, at most three times.
    """

    @property
    def width(self) -> int:
        """Return how many parts run at once."""
        ...

    def map(
        self,
        work: Callable[[Shared, Item], Result],
        shared: Shared,
        items: Sequence[Item],
        *,
        on_done: Callable[[int], None] | None = None,
    ) -> list[Result]:
        """Return `[work(shared, item) for item in items]`; `on_done` is called with the number done."""
        ...


def run_part(work: Callable[[Any, Any], Any], shared: Any, item: Any) -> Any:
    """Run one part with one thread of linear algebra.

    Several threads add up in another order, which changes the last digits, and they would compete for the
    cores of the other workers.
    """
    with threadpool_limits(limits=1):
        return work(shared, item)
