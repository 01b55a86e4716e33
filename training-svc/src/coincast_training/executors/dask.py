"""Run parts on a Dask cluster; its scheduler repeats the parts of a killed worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import distributed
from distributed.scheduler import KilledWorker

from coincast_chassis.errors import Unavailable
from coincast_chassis.observability.error_text import without_path
from coincast_training.executors.base import ROUNDS, Item, Result, Shared, run_part

CONNECT_SECONDS = 10
_DISTRIBUTED: Any = distributed  # the library has no type annotations


class DaskExecutor:
    """An executor that sends parts to an existing Dask cluster."""

    def __init__(self, client: Any) -> None:
        self._client = client

    @property
    def width(self) -> int:
        """Return the number of threads of all workers."""
        return max(1, int(sum(self._client.nthreads().values())))

    def map(
        self,
        work: Callable[[Shared, Item], Result],
        shared: Shared,
        items: Sequence[Item],
        *,
        on_done: Callable[[int], None] | None = None,
    ) -> list[Result]:
        """Run the parts on the cluster; see Executor.

        Raises:
            Unavailable: Workers died repeatedly.
        """
        held = self._client.scatter(shared, broadcast=True, hash=False)
        futures = [
            self._client.submit(run_part, work, held, item, pure=False, retries=ROUNDS - 1) for item in items
        ]
        try:
            for count, _ in enumerate(_DISTRIBUTED.as_completed(futures, loop=self._client.loop), start=1):
                if on_done is not None:
                    on_done(count)
            return list(self._client.gather(futures))
        except KilledWorker as error:
            raise Unavailable(f"Dask workers died repeatedly: {error}") from error
        finally:
            self._client.cancel([*futures, held])


@contextmanager
def open_dask(address: str) -> Iterator[DaskExecutor]:
    """Yield an executor on the cluster, and close its connection at the end of the block.

    Raises:
        Unavailable: No scheduler answers.
    """
    try:
        client = _DISTRIBUTED.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise Unavailable(f"No Dask scheduler answers at {address}: {without_path(error)}") from error
    try:
        yield DaskExecutor(client)
    finally:
        client.close(timeout=5)
