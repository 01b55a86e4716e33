"""Replicas that never reached Redis share the plan by the locks in their archive folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from coincast_chassis.clock import ManualClock
from coincast_market_data.ports import Priority
from coincast_market_data.rate_limit.limiter import Limits, RateLimiter
from coincast_market_data.rate_limit.siblings import COUNT_SECONDS, SiblingCounter
from coincast_market_data.redis_executor import RedisExecutor
from tests.unit.market.market_limiter import grants

HOLD = """
import sys, time
from pathlib import Path
from coincast_chassis.clock import SystemClock
from coincast_market_data.rate_limit.siblings import SiblingCounter
counter = SiblingCounter(Path(sys.argv[1]), SystemClock())
counter.join()
print("joined", flush=True)
time.sleep(60)
"""


def limiter_for(counter: SiblingCounter, clock: ManualClock, *, replicas: int = 1) -> RateLimiter:
    return RateLimiter(
        Limits(30, 0),
        replicas=replicas,
        clock=clock,
        executor=RedisExecutor(),
        client=None,
        prefix="s:",
        siblings=counter.count,
    )


@pytest.mark.parametrize(
    ("replicas", "setting", "share"), [(1, 1, 30), (2, 1, 15), (3, 1, 10), (3, 5, 6), (1, 3, 10), (7, 1, 4)]
)
async def test_replicas_on_one_folder_spend_one_plan_together(
    tmp_path: Path, replicas: int, setting: int, share: int
) -> None:
    clock = ManualClock()
    counters = [SiblingCounter(tmp_path, clock) for _ in range(replicas)]
    for counter in counters:
        counter.join()
    limiters = [limiter_for(counter, clock, replicas=setting) for counter in counters]
    granted = [await grants(limiter, Priority.LIVE, 40) for limiter in limiters]
    assert granted == [share] * replicas
    assert sum(granted) <= 30
    assert {limiter.replicas for limiter in limiters} == {max(replicas, setting)}
    assert not any(limiter.redis_seen for limiter in limiters)
    for counter in counters:
        counter.leave()


def test_one_that_leaves_is_not_counted_any_more(tmp_path: Path) -> None:
    clock = ManualClock()
    one, other = SiblingCounter(tmp_path, clock), SiblingCounter(tmp_path, clock)
    one.join()
    other.join()
    assert one.count() == 2
    other.leave()
    clock.advance(COUNT_SECONDS)
    assert one.count() == 1
    one.leave()
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_is_not_counted_any_more(tmp_path: Path) -> None:
    clock = ManualClock()
    own = SiblingCounter(tmp_path, clock)
    own.join()
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline().strip() == "joined"
        assert own.count() == 2
        os.kill(child.pid, signal.SIGKILL)
        child.wait(10)
        clock.advance(COUNT_SECONDS)
        assert own.count() == 1
        assert len(list(tmp_path.iterdir())) == 1
    finally:
        child.kill()
        child.wait(10)
        assert child.stdout is not None
        child.stdout.close()
        own.leave()


def test_a_folder_that_cannot_be_used_counts_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    counter = SiblingCounter(tmp_path / "file", ManualClock())
    counter.join()
    assert counter.count() == 1
    counter.leave()


def test_stray_files_are_not_replicas(tmp_path: Path) -> None:
    counter = SiblingCounter(tmp_path, ManualClock())
    counter.join()
    (tmp_path / "note.txt").write_text("")
    (tmp_path / "old.lock").write_text("")
    (tmp_path / "folder.lock").mkdir()
    assert counter.count() == 1
    counter.leave()
