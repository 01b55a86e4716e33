"""Run parts in local processes of loky; the parts of a killed worker are repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

import structlog
from loky import ProcessPoolExecutor

from coincast_chassis.errors import Unavailable
from coincast_training.executors.base import ROUNDS, Item, Result, Shared, run_part
from coincast_training.optional_imports import import_lightgbm_alone

log = structlog.get_logger(__name__)


class ProcessExecutor:
    """An executor with a pool of spawned processes, which is recreated after a worker dies."""

    def __init__(self, workers: int) -> None:
        self.width = workers
        self._pool = _new_pool(workers)

    def map(
        self,
        work: Callable[[Shared, Item], Result],
        shared: Shared,
        items: Sequence[Item],
        *,
        on_done: Callable[[int], None] | None = None,
    ) -> list[Result]:
        """Run the parts in the pool; see Executor.

        Raises:
            Unavailable: Workers died repeatedly.
        """
        done: dict[int, Result] = {}
        for attempt in range(1, ROUNDS + 1):
            missing = [place for place in range(len(items)) if place not in done]
            if not missing:
                break
            if attempt > 1:
                log.warning("worker_died", attempt=attempt, parts_left=len(missing))
                self._renew()
            self._try_missing(work, shared, {place: items[place] for place in missing}, done, on_done)
        if len(done) < len(items):
            raise Unavailable(
                f"Worker processes died {ROUNDS} times; {len(items) - len(done)} parts are not done."
            )
        return [done[place] for place in range(len(items))]

    def _try_missing(
        self,
        work: Callable[[Shared, Item], Result],
        shared: Shared,
        items: dict[int, Item],
        done: dict[int, Result],
        on_done: Callable[[int], None] | None,
    ) -> None:
        """Try the missing parts once and store their results in `done`; stop early if a worker dies."""
        try:
            places: dict[Future[Any], int] = {
                self._pool.submit(run_part, work, shared, item): place for place, item in items.items()
            }
            for future in as_completed(places):
                done[places[future]] = future.result()
                if on_done is not None:
                    on_done(len(done))
        except BrokenProcessPool:
            return

    def _renew(self) -> None:
        self.close()
        self._pool = _new_pool(self.width)

    def close(self) -> None:
        """Stop the workers."""
        self._pool.shutdown(wait=True, kill_workers=True)


def _new_pool(workers: int) -> Any:
    return ProcessPoolExecutor(
        max_workers=workers, env={"OMP_NUM_THREADS": "1"}, initializer=import_lightgbm_alone
    )


@contextmanager
def open_processes(workers: int) -> Iterator[ProcessExecutor]:
    """Yield a pool of processes, and stop them at the end of the block."""
    executor = ProcessExecutor(workers)
    try:
        yield executor
    finally:
        executor.close()
