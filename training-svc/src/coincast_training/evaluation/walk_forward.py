"""Run the parts of an evaluation in worker processes and report the progress."""

from __future__ import annotations

import multiprocessing
import os
import queue
import time
import traceback
from collections.abc import Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, Protocol

from threadpoolctl import threadpool_limits

from coincast_modelkit.candles import Panel
from coincast_training.evaluation.options import EvaluationPlan
from coincast_training.evaluation.partitions import Part, parts_of
from coincast_training.evaluation.rows import Rows, join_rows

TICK_SECONDS = 0.5
_news: Any = None


class Listener(Protocol):
    """A callback for the finished fraction of all parts and the current stage."""

    def __call__(self, fraction: float, stage: str) -> None:
        """Report progress; called in the process that started the evaluation."""
        ...


def walk_all(
    panel: Panel, plan: EvaluationPlan, jobs: int, listener: Listener
) -> tuple[Rows, list[str], dict[str, float]]:
    """Run all parts of a plan.

    A part that fails loses only its own rows.

    Args:
        panel: Candles of the coins to forecast.
        plan: Days, horizons and models.
        jobs: Number of worker processes.
        listener: Called with the progress.

    Returns:
        All rows, the notes on parts that failed or were left out, and the seconds of each part.

    Raises:
        ValueError: Every part failed.
    """
    parts, notes = parts_of(plan, panel)
    done = dict.fromkeys(parts, 0.0)
    rows: list[Rows] = []
    seconds: dict[str, float] = {}
    context = multiprocessing.get_context("spawn")
    # The workers inherit this queue. The queue of a manager would need another process, which takes seconds
    # to start.
    news = context.Queue()
    with _pool(jobs, context, news) as pool:
        waiting = {pool.submit(_walk, name, panel, plan): name for name in parts}
        while waiting:
            _report_progress(news, parts, done, listener)
            for future in [f for f in waiting if f.done()]:
                name = waiting.pop(future)
                done[name] = 1.0
                _collect(future, name, rows, notes, seconds)
    listener(1.0, "all parts finished")
    return join_rows(rows), notes, seconds


def _pool(jobs: int, context: Any, news: Any) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(
        max_workers=jobs, mp_context=context, initializer=_prepare_worker, initargs=(news,)
    )


def _prepare_worker(news: Any) -> None:
    """Limit a worker to one thread: two workers with two threads each would slow each other down.

    Args:
        news: Queue for the progress reports of the worker.
    """
    global _news  # noqa: PLW0603 - set once in each worker: a queue can only be inherited
    _news = news
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = "1"


def _walk(name: str, panel: Panel, plan: EvaluationPlan) -> tuple[Rows, float]:
    began, parent = time.monotonic(), os.getppid()
    last = 0.0

    def progress(fraction: float, stage: str) -> None:
        nonlocal last
        if os.getppid() != parent:
            os._exit(1)  # the parent process has died
        if time.monotonic() - last > TICK_SECONDS:
            last = time.monotonic()
            _news.put((name, fraction, stage))

    parts, _ = parts_of(plan, panel)
    with threadpool_limits(limits=1):  # for libraries loaded before `_prepare_worker` set the variables
        return parts[name].walk(panel, plan, progress), time.monotonic() - began


def _report_progress(
    news: Any, parts: Mapping[str, Part], done: dict[str, float], listener: Listener
) -> None:
    """Wait up to TICK_SECONDS for a progress report of a worker, and pass it to the listener."""
    try:
        name, fraction, stage = news.get(timeout=TICK_SECONDS)
    except queue.Empty:
        return
    done[name] = max(done[name], fraction)
    total = sum(part.cost for part in parts.values())
    listener(sum(parts[n].cost * fraction for n, fraction in done.items()) / total, stage)


def _collect(
    future: Future[tuple[Rows, float]],
    name: str,
    rows: list[Rows],
    notes: list[str],
    seconds: dict[str, float],
) -> None:
    try:
        made, seconds[name] = future.result()
        rows.append(made)
    except Exception as error:  # one part must not fail the others; the note says what failed
        last = traceback.format_exception(error)[-1].strip()
        notes.append(f"{name} failed and is missing: {last}")
