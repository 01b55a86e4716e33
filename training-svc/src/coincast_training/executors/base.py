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
    """Map a pure function over parts of work; results are in the order of the parts.

    If a worker is killed, another one repeats its parts; each part is tried at most ROUNDS times.
    """

    @property
    def width(self) -> int:
        """Return the number of parts that run at the same time."""
        ...

    def map(
        self,
        work: Callable[[Shared, Item], Result],
        shared: Shared,
        items: Sequence[Item],
        *,
        on_done: Callable[[int], None] | None = None,
    ) -> list[Result]:
        """Return `[work(shared, item) for item in items]`.

        Args:
            work: A pure function that can be pickled.
            shared: A value that all parts use; it is sent to each worker once.
            items: One value for each part.
            on_done: Called with the number of finished parts after each part.

        Raises:
            Unavailable: Workers died repeatedly.
        """
        ...


def run_part(work: Callable[[Any, Any], Any], shared: Any, item: Any) -> Any:
    """Run one part with one thread of linear algebra.

    Several threads sum in another order, which changes the last digits. They would also compete with the
    other workers for the cores.
    """
    with threadpool_limits(limits=1):
        return work(shared, item)
