"""What runs in worker processes of the fault tests; imported there by its own name."""

from __future__ import annotations

import os
import random
import resource
import signal
import sys
import time
from pathlib import Path

from coincast_chassis.clock import SystemClock
from coincast_chassis.errors import CoincastError, Conflict
from coincast_training.domain import AuditEntry
from coincast_training.executors import open_executor
from coincast_training.pipeline.dataset import TrainingData
from coincast_training.registry.audit import AuditLog
from coincast_training.registry.registry import Registry
from coincast_training.tuning.study import tune

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "unit" / "training"))
from training_fakes import panel_of

MODEL = "lightgbm"


def promote_often(root: Path, versions: list[str], moves: int, seed: int) -> int:
    """So many moves that won, each from the revision that it saw; how many had to be tried again."""
    registry, rng, again = Registry(root, clock=SystemClock()), random.Random(seed), 0
    while moves:
        table = registry.table(MODEL)
        try:
            registry.promote(
                MODEL, rng.choice(versions), expected_revision=table.revision, requested_by=f"promoter-{seed}"
            )
        except Conflict:
            again += 1
        else:
            moves -= 1
    return again


class FullAfterwards(AuditLog):
    """The disk takes the line and then no file of more than 40 bytes."""

    def append(self, entry: AuditEntry) -> None:
        """As ever, and full after it."""
        super().append(entry)
        no_file_beyond(40)


def no_file_beyond(size_bytes: int) -> None:
    """This process may write no file beyond a size: what fits is taken, then comes an error."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def promote_without_room(root: Path, version: str, room_bytes: int | None) -> str:
    """The error of a promotion whose audit line has only so much room, or (None) whose table has none."""
    registry = Registry(root, clock=SystemClock())
    if room_bytes is None:
        registry.audit = FullAfterwards(root / "audit.jsonl")
    else:
        no_file_beyond((root / "audit.jsonl").stat().st_size + room_bytes)
    try:
        registry.promote(MODEL, version, requested_by="t")
    except CoincastError as error:
        return f"{type(error).__name__}: {error.message}"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return ""


def square(shared: Path, item: int) -> int:
    """Squares; the fifth part kills its worker the first time that it runs."""
    mark = shared / "killed"
    if item == 5 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return item * item


def always_dies(shared: None, item: int) -> None:
    """Never comes back."""
    os.kill(os.getpid(), signal.SIGKILL)


def slow_sum(shared: int, item: int) -> int:
    """Takes long enough for a worker to be killed in the middle."""
    time.sleep(1.0)
    return shared + item


TUNED: dict[str, object] = {
    "volatility": {"rounds": 10},
    "mean": {"rounds": 5},
    "anchors": [1, 7],
    "mean_anchors": [1],
}


def tuned(folder: Path, trials: int) -> tuple[float, list[object]]:
    """A small study in the folder: its best value, and every trial's value."""
    panel = panel_of(("bitcoin", "ethereum"), days=430)
    with open_executor("inline") as executor:
        found = tune(
            TrainingData(panel, panel, "test"),
            model=MODEL,
            base=TUNED,
            seed=7,
            trials=trials,
            executor=executor,
            folder=folder,
            progress=lambda fraction, stage: None,
        )
    return found.best_value, [trial["value"] for trial in found.trials]
