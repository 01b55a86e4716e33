"""Run parts one after another in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from coincast_training.executors.base import Item, Result, Shared, run_part


class InlineExecutor:
    """An executor without workers."""

    width = 1

    def map(
        self,
        work: Callable[[Shared, Item], Result],
        shared: Shared,
        items: Sequence[Item],
        *,
        on_done: Callable[[int], None] | None = None,
    ) -> list[Result]:
        """Run the parts in this process; see Executor."""
        results: list[Result] = []
        for item in items:
            results.append(run_part(work, shared, item))
            if on_done is not None:
                on_done(len(results))
        return results
