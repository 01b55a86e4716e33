"""Compare refits and trainings in this process, in local processes and on a local Dask cluster.

The cluster has two workers. The script prints whether the files are equal byte for byte, and the speed-up,
whose limit is the number of workers. Run it with `python bench/training_executors.py [--data DIR] [--days N]
[--coins N] [--rounds N] [--kill]`.

Rounds are interleaved and the median is taken, since other work may share the machine. The speed-up by
processor time excludes that work: it is the processor time of all refits in this process, divided by that of
the busiest worker.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import distributed
import numpy as np

from coincast_modelkit.candles import Candles, Panel
from coincast_modelkit.features import REFERENCE_COINS
from coincast_modelkit.models.base import ForecastModel
from coincast_training.backtest.run import BacktestOptions, folds_of
from coincast_training.executors import open_executor
from coincast_training.pipeline.dataset import TrainingData
from coincast_training.pipeline.folds import FoldTask, cut, forecast_days
from coincast_training.trainers.registry import find_fit

WORKERS = 2


@dataclass(frozen=True)
class Part:
    """The result of one refit: digests of its files and forecasts, the pid of the worker, and CPU seconds."""

    digests: dict[str, str]
    worker: int
    cpu_seconds: float


@dataclass(frozen=True)
class Round:
    """A round of one executor: wall seconds, CPU seconds of the busiest worker and of all, and digests."""

    wall: float
    busiest: float
    together: float
    digests: tuple[tuple[tuple[str, str], ...], ...]


@dataclass(frozen=True)
class Training:
    """A whole training: wall seconds, and a digest of every file and of its record."""

    wall: float
    digests: dict[str, str]


# Parameters by model, for trainings with the walk-forward record. The network is left out, because its files
# may differ between runs.
TRAININGS: dict[str, dict[str, Any]] = {"lightgbm": {}, "ml_ensemble": {"lstm": {"use": "off"}}}


def main() -> None:
    """Run every executor in interleaved rounds, and print their times."""
    options = _parse_options()
    panel = read_panel(options.data, options.days, options.coins)
    data = TrainingData(panel, {c: k for c, k in panel.items() if c in REFERENCE_COINS}, "bench")
    tasks = tasks_on(data, options.trees)
    with local_cluster() as cluster:
        addresses = ["inline", f"processes:{WORKERS}", f"dask:{cluster.scheduler_address}"]
        found: dict[str, list[Round]] = {address: [] for address in addresses}
        for _ in range(options.rounds):
            for address in addresses:
                found[address].append(run(address, data, tasks))
        report(found, panel, len(tasks))
        for model, params in TRAININGS.items():
            taken: dict[str, list[Training]] = {address: [] for address in addresses}
            for _ in range(options.rounds):
                for address in addresses:
                    taken[address].append(train(address, data, model, params))
            report_training(model, taken)
        if options.kill:
            killed = threading.Timer(2.0, kill_a_worker, [cluster])
            killed.start()
            last = run(addresses[-1], data, tasks)
            same = last.digests == found["inline"][0].digests
            print(f"a worker killed in the middle: {last.wall:.1f} s, same files: {same}")


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/daily"))
    parser.add_argument("--days", type=int, default=700)
    parser.add_argument("--coins", type=int, default=10)
    parser.add_argument("--trees", type=int, default=150, help="trees of each head; fewer are quicker")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--kill", action="store_true", help="kill a Dask worker in the middle of a round")
    return parser.parse_args()


def tasks_on(data: TrainingData, trees: int) -> list[FoldTask]:
    """Return six refits, forty days apart."""
    options = BacktestOptions("lightgbm", test_days=240, refit_days=40, horizons=(1, 7))
    heads = {"volatility": {"rounds": trees}, "mean": {"rounds": min(60, trees)}}
    params: dict[str, Any] = {"walk_forward": False, **heads}
    return [FoldTask("lightgbm", params, 7, fold, options.horizons) for fold in folds_of(data, options)]


def refit(data: TrainingData, task: FoldTask) -> Part:
    """Fit on the days before the fold, save the model, and forecast the days of the fold."""
    from coincast_training.trainers.lightgbm.trainer import fit

    # Only the time of this thread: the threads of a scheduler may run in this process as well.
    started, fold, day = time.thread_time(), task.fold, np.timedelta64(1, "D")
    known = cut(data.panel, fold.train_from, fold.test_from - day)
    reference = cut(data.reference, None, fold.test_from - day)
    model = fit(known, task.params, task.seed, progress=silent, reference=reference).model
    digests = digests_of(model)
    forecast = forecast_days(model, data, fold.test_from, fold.test_to, task.horizons)
    digests["forecasts"] = _digest(np.ascontiguousarray(forecast.log_return_quantiles).tobytes())
    return Part(digests, os.getpid(), time.thread_time() - started)


def train(address: str, data: TrainingData, model: str, params: dict[str, Any]) -> Training:
    """Train on every coin with an executor; the start of its workers and their imports do not count.

    Args:
        address: The address of the executor, as `open_executor` takes it.
        data: The candles.
        model: The name of the model.
        params: Its parameters.
    """
    with open_executor(address) as executor:
        executor.map(warm, data, list(range(2 * executor.width)))
        started = time.perf_counter()
        fitted = find_fit(model)(
            data.panel, params, 7, progress=silent, reference=data.reference, executor=executor
        )
        wall = time.perf_counter() - started
    record = np.ascontiguousarray(fitted.walk_forward.log_return_quantiles)
    return Training(wall, {**digests_of(fitted.model), "record": _digest(record.tobytes())})


def digests_of(model: ForecastModel) -> dict[str, str]:
    """Return the digest of every file of the saved model, by file name."""
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder))
        return {path.name: _digest(path.read_bytes()) for path in sorted(Path(folder).iterdir())}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def run(address: str, data: TrainingData, tasks: list[FoldTask]) -> Round:
    """Run the refits with an executor; the start of its workers and their imports do not count."""
    with open_executor(address) as executor:
        executor.map(warm, data, list(range(2 * executor.width)))
        started = time.perf_counter()
        parts = executor.map(refit, data, tasks)
        wall = time.perf_counter() - started
    by_worker: dict[int, float] = defaultdict(float)
    for part in parts:
        by_worker[part.worker] += part.cpu_seconds
    digests = tuple(tuple(sorted(part.digests.items())) for part in parts)
    return Round(wall, max(by_worker.values()), sum(by_worker.values()), digests)


def warm(data: TrainingData, item: int) -> None:
    """Import the modules and compile the kernels of a refit in the worker."""
    from coincast_modelkit.features import DEFAULT_SPEC, batch, market_of
    from coincast_training.trainers.lightgbm import trainer  # noqa: F401

    batch(data.panel["bitcoin"].tail(200), market_of(data.reference), DEFAULT_SPEC)
    time.sleep(0.5)


def silent(fraction: float, stage: str) -> None:
    """Ignore the progress."""


@contextmanager
def local_cluster() -> Iterator[Any]:
    """Run a Dask cluster of WORKERS processes with one thread each."""
    cluster = distributed.LocalCluster(
        n_workers=WORKERS, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, silence_logs=50
    )
    try:
        yield cluster
    finally:
        cluster.close()


def kill_a_worker(cluster: Any) -> None:
    """Send SIGKILL to the first worker's process."""
    with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
        pids = client.run(os.getpid)
        os.kill(next(iter(pids.values())), signal.SIGKILL)


def report(found: dict[str, list[Round]], panel: Panel, refits: int) -> None:
    """Print one line for each executor, with the limit of its speed-up."""
    rows = sum(len(candles) for candles in panel.values())
    load = os.getloadavg()[0]
    print(f"{refits} refits on {len(panel)} coins, {rows} days; {os.cpu_count()} cores, load {load:.1f}")
    inline = found["inline"]
    alone = statistics.median(each.wall for each in inline)
    work = statistics.median(each.together for each in inline)
    for address, rounds in found.items():
        wall = statistics.median(each.wall for each in rounds)
        busiest = statistics.median(each.busiest for each in rounds)
        same = {each.digests for each in rounds} == {inline[0].digests}
        print(
            f"{address.partition(':tcp')[0]:12} {wall:6.1f} s, speed-up {alone / wall:4.2f} of {WORKERS}; "
            f"by processor time {work / busiest:4.2f}; same files: {same}"
        )


def report_training(model: str, taken: dict[str, list[Training]]) -> None:
    """Print one line for each executor, with the limit of its speed-up."""
    print(f"one training of {model} with its record")
    inline = taken["inline"]
    alone = statistics.median(each.wall for each in inline)
    for address, rounds in taken.items():
        wall = statistics.median(each.wall for each in rounds)
        same = all(each.digests == inline[0].digests for each in rounds)
        print(
            f"{address.partition(':tcp')[0]:12} {wall:6.1f} s, speed-up {alone / wall:4.2f} of {WORKERS}; "
            f"same files and record: {same}"
        )


def read_panel(folder: Path, days: int, coins: int) -> Panel:
    """Return the last days of the first coins of a folder of daily candles.

    Raises:
        SystemExit: The folder has no candles.
    """
    panel = {}
    for path in sorted(folder.glob("*.csv"))[:coins]:
        rows = np.genfromtxt(path, delimiter=",", names=True, dtype=None, encoding="utf-8")
        fields = {name: rows[name] for name in ("open", "high", "low")}
        dates = rows["date"].astype("datetime64[D]")
        panel[path.stem] = Candles.of(
            path.stem, dates, rows["close"], volume=rows["volume_usd"], **fields
        ).tail(days)
    if not panel:
        sys.exit(f"no candles in {folder}: name a folder of <coin id>.csv files with --data")
    return panel


if __name__ == "__main__":
    main()
