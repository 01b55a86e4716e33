"""The figures of a process are those of this one, as the machine states them."""

from __future__ import annotations

import mmap
import shutil
import threading
from pathlib import Path

import pytest

from coincast_chassis.observability.process_stats import ProcessWatch


def test_the_figures_are_those_of_this_process(tmp_path: Path) -> None:
    watch = ProcessWatch()
    before = watch.read()
    held = [(tmp_path / f"{number}").open("w") for number in range(5)]
    # Pages of their own: other memory may come from what the process has freed.
    ballast = mmap.mmap(-1, 40_000_000)
    ballast.write(b"x" * len(ballast))
    after = watch.read()
    for each in held:
        each.close()
    assert after.open_files - before.open_files == len(held)
    assert after.memory_bytes - before.memory_bytes > len(ballast) / 2
    assert after.threads >= threading.active_count()
    assert after.uptime_seconds > before.uptime_seconds > 0
    assert after.disk_total_bytes == pytest.approx(shutil.disk_usage(".").total)
    assert 0 < after.disk_free_bytes < after.disk_total_bytes
    assert after.cpu_percent >= 0
    assert after.load_per_core >= 0
