"""Run as a process of its own: forks writers and kills them at random moments, then looks at what lies on
disk.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from coincast_chassis.clock import SystemClock
from coincast_modelkit.artifact import list_versions, read_aliases
from coincast_training.domain import TrainingSpec
from coincast_training.pipeline.artifact import write_version
from coincast_training.pipeline.dataset import training_data_of
from coincast_training.pipeline.metrics import measure
from coincast_training.ports import History
from coincast_training.registry.registry import Registry
from coincast_training.trainers.base import FittedModel

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "unit" / "training"))
from training_fakes import SpokenModel, panel_of, walk_forward_of

MODEL = "lightgbm"
# About what a write takes here, so that a kill falls anywhere within it.
LONGEST_AIM_SECONDS = 0.02
PANEL = panel_of(("bitcoin",), days=300)
WALK = walk_forward_of(PANEL, test_days=60)
DATA = training_data_of(History(panel=PANEL, source="archive"), ("bitcoin",), 90)
RECORD = measure(WALK, PANEL, measured_at=1.0)


def main(root: Path, kills: int, seed: int) -> dict[str, int]:
    """Kills so many writers, every second one while it writes; what was found on the way and at the end."""
    rng, judge = random.Random(seed), Judge(root)
    for number in range(kills):
        child = os.fork()
        if child == 0:
            write_forever(root)
        time.sleep(rng.uniform(0.0, 0.6))
        if number % 2:
            wait_for_a_write(root)
            time.sleep(rng.uniform(0.0, LONGEST_AIM_SECONDS))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        judge.look()
    return judge.verdict()


def wait_for_a_write(root: Path) -> None:
    """Returns soon after the writer has begun a file or a folder that is not in place yet."""
    before = left_over(root)
    while left_over(root) <= before:
        before = left_over(root)
        time.sleep(0.0005)


def left_over(root: Path) -> set[str]:
    """What lies there half written."""
    return {path.name for path in (root / MODEL).glob(".writing-*")}


def write_forever(root: Path) -> None:
    """Version after version, each made production."""
    registry = Registry(root, clock=SystemClock())
    while True:
        version = write_version(
            registry,
            spec=TrainingSpec(model=MODEL, ids=("bitcoin",)),
            fitted=FittedModel(SpokenModel("words " * 20_000), WALK, {}),
            data=DATA,
            record=RECORD,
            seed=7,
            parent=None,
            created_at=1.0,
        )
        registry.promote(MODEL, version, requested_by="writer")


class Judge:
    """Looks at what lies on disk after each kill."""

    def __init__(self, root: Path) -> None:
        self._root, self._registry = root, Registry(root, clock=SystemClock())
        self._checked: set[str] = set()
        names = ("kills", "in_the_middle", "torn_versions", "torn_tables", "dead_aliases")
        self._found, self._left_over = dict.fromkeys(names, 0), left_over(root)

    def look(self) -> None:
        """Every version that is new, and where production points."""
        self._found["kills"] += 1
        self._found["in_the_middle"] += left_over(self._root) > self._left_over
        self._left_over = left_over(self._root)
        for version in sorted(set(list_versions(self._root, MODEL)) - self._checked):
            self._checked.add(version)
            self._count("torn_versions", partial(self._registry.versions.verified, MODEL, version))
        self._count("torn_tables", self._follow)

    def _follow(self) -> None:
        production = read_aliases(self._root, MODEL).production
        self._found["dead_aliases"] += bool(production) and production not in self._checked

    def _count(self, name: str, check: Callable[[], object]) -> None:
        try:
            check()
        except Exception:  # whatever it is, the file was not whole
            self._found[name] += 1

    def verdict(self) -> dict[str, int]:
        """All of it."""
        revisions = [entry.revision for entry in self._registry.audit.entries(MODEL)]
        return self._found | {
            "versions": len(self._checked),
            "left_over": len(left_over(self._root)),
            "revisions_out_of_order": sum(b < a for a, b in itertools.pairwise(revisions)),
        }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))) + "\n")
