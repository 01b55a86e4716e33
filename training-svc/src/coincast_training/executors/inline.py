"""Parts one after another in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from coincast_training.executors.base import Item, Result, Shared, run_part


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
