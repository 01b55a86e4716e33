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
from pathlib import Path

from coincast_chassis.clock import SystemClock
from coincast_modelkit.artifact import list_versions, read_aliases
from coincast_training.domain import TrainingSpec
from coincast_training.fitting.base import FittedModel
from coincast_training.ports import History
from coincast_training.registry.registry import Registry
from coincast_training.training.artifact import write_version
from coincast_training.training.data import ground_of
from coincast_training.training.record import measure

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "unit" / "training"))
from training_fakes import SpokenModel, panel_of, walk_forward_of

MODEL = "lightgbm"


def main(root: Path, kills: int, seed: int) -> dict[str, int]:
    rng = random.Random(seed)
    panel = panel_of(("bitcoin",), days=300)
    walk = walk_forward_of(panel, test_days=60)
    ground = ground_of(History(panel=panel, source="archive"), ("bitcoin",), 90)
    record = measure(walk, panel, measured_at=1.0)

    def write_forever() -> None:
        registry = Registry(root, clock=SystemClock())
        while True:
            version = write_version(
                registry,
                spec=TrainingSpec(model=MODEL, ids=("bitcoin",)),
                fitted=FittedModel(SpokenModel("words " * 20_000), walk, {}),
                ground=ground,
                record=record,
                seed=7,
                parent=None,
                created_at=1.0,
            )
            registry.promote(MODEL, version, requested_by="writer")

    found = {
        "kills": 0,
        "versions": 0,
        "torn_versions": 0,
        "torn_tables": 0,
        "dead_aliases": 0,
        "left_over": 0,
    }
    registry = Registry(root, clock=SystemClock())
    checked: set[str] = set()
    for _ in range(kills):
        child = os.fork()
        if child == 0:
            write_forever()
        time.sleep(rng.uniform(0.0, 0.6))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        found["kills"] += 1
        for version in list_versions(root, MODEL):
            if version in checked:
                continue
            checked.add(version)
            try:
                registry.versions.verified(MODEL, version)
            except Exception:
                found["torn_versions"] += 1
        try:
            production = read_aliases(root, MODEL).production
            found["dead_aliases"] += bool(production) and production not in checked
        except Exception:
            found["torn_tables"] += 1
    found["versions"] = len(checked)
    found["left_over"] = len(list((root / MODEL).glob(".writing-*")))
    entries = [entry.revision for entry in registry.audit.entries(MODEL)]
    found["revisions_out_of_order"] = sum(b < a for a, b in itertools.pairwise(entries))
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))) + "\n")
