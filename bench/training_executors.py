"""The folds of a backtest in this process, in local processes and on a local Dask cluster: same bits, what
speed.

Run with `python bench/training_executors.py [--data DIR] [--days N] [--kill]`. Prints one line an executor;
the limit is the number of cores. Rounds are interleaved and the median is taken, since other work may share
the machine.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import statistics
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import distributed
import numpy as np

from coincast_modelkit.candles import Candles, Panel
from coincast_modelkit.features import REFERENCE_COINS
from coincast_training.backtest.run import Options, folds_of
from coincast_training.executors import open_executor
from coincast_training.training.data import Ground
from coincast_training.training.folds import FoldTask, joined, run_fold

WORKERS = 2


def main() -> None:
    """Runs every executor in turn and prints what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/daily"))
    parser.add_argument("--days", type=int, default=700)
    parser.add_argument("--coins", type=int, default=10)
    parser.add_argument("--trees", type=int, default=150, help="trees of each head; fewer make a quick look")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--kill", action="store_true", help="kill a Dask worker in the middle of a round")
    asked = parser.parse_args()
    panel = read_panel(asked.data, asked.days, asked.coins)
    ground = Ground(panel, {c: k for c, k in panel.items() if c in REFERENCE_COINS}, "bench")
    options = Options("lightgbm", test_days=240, refit_days=40, horizons=(1, 7))
    heads = {"volatility": {"rounds": asked.trees}, "mean": {"rounds": min(60, asked.trees)}}
    params = {"walk_forward": False, **heads}
    tasks = [FoldTask("lightgbm", params, 7, fold, options.horizons) for fold in folds_of(ground, options)]
    with local_cluster() as cluster:
        addresses = ["inline", f"processes:{WORKERS}", f"dask:{cluster.scheduler_address}"]
        seconds: dict[str, list[float]] = {address: [] for address in addresses}
        digests: dict[str, str] = {}
        for _ in range(asked.rounds):
            for address in addresses:
                took, digests[address] = run(address, ground, tasks)
                seconds[address].append(took)
        report(addresses, seconds, digests, panel, len(tasks))
        if asked.kill:
            killed = threading.Timer(2.0, kill_a_worker, [cluster])
            killed.start()
            took, digest = run(addresses[-1], ground, tasks)
            print(f"a worker killed in the middle: {took:.1f} s, same bits: {digest == digests['inline']}")


def run(address: str, ground: Ground, tasks: list[FoldTask]) -> tuple[float, str]:
    """Seconds without the start of the workers, and a digest over every forecast."""
    with open_executor(address) as executor:
        executor.map(warm, "", list(range(2 * WORKERS)))
        started = time.perf_counter()
        results = executor.map(run_fold, ground, tasks)
        took = time.perf_counter() - started
    forecast = joined([result.out_of_sample for result in results])
    return took, hashlib.sha256(np.ascontiguousarray(forecast.log_return_quantiles).tobytes()).hexdigest()


def warm(shared: str, item: int) -> None:
    """Imports what a fold needs, in the worker."""
    import coincast_training.fitting.lightgbm  # noqa: F401

    time.sleep(0.2)


@contextmanager
def local_cluster():
    """Two workers with one thread each."""
    cluster = distributed.LocalCluster(
        n_workers=WORKERS, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, silence_logs=50
    )
    try:
        yield cluster
    finally:
        cluster.close()


def kill_a_worker(cluster) -> None:
    """SIGKILL to the first worker's process."""
    with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
        pids = client.run(os.getpid)
        os.kill(next(iter(pids.values())), signal.SIGKILL)


def report(addresses, seconds, digests, panel: Panel, folds: int) -> None:
    """One line an executor, beside the limit."""
    rows = sum(len(candles) for candles in panel.values())
    print(f"{folds} refits on {len(panel)} coins, {rows} days; {os.cpu_count()} cores")
    base = statistics.median(seconds["inline"])
    for address in addresses:
        median = statistics.median(seconds[address])
        name = address.partition(":tcp")[0]
        same = digests[address] == digests["inline"]
        print(f"{name:12} {median:6.1f} s   speed-up {base / median:4.2f} of {WORKERS}   same bits: {same}")


def read_panel(folder: Path, days: int, coins: int) -> Panel:
    """The real candles of a folder."""
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
