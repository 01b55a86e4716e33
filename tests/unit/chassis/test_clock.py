"""The system's clocks, a wall clock that does not step, and one that a test moves."""

from __future__ import annotations

import time

import pytest

from coincast_chassis.clock import Clock, ManualClock, SteadyClock, SystemClock


def test_the_system_clock_reads_the_machines_clocks() -> None:
    clock: Clock = SystemClock()
    assert clock.now() == pytest.approx(time.time(), abs=5)
    assert clock.monotonic() <= clock.monotonic()


def test_a_steady_clock_follows_time_but_no_step_of_the_wall_clock() -> None:
    manual = ManualClock(now=1_000.0)
    clock = SteadyClock(manual)
    manual.advance(10)
    assert (clock.now(), clock.wall()) == (1_010.0, 1_010.0)
    manual.set_wall(5_000.0)
    manual.advance(1)
    assert (clock.now(), clock.wall()) == (1_011.0, 5_001.0)


def test_a_manual_clock_stands_still_until_it_is_moved() -> None:
    clock = ManualClock(now=7.0)
    assert (clock.now(), clock.monotonic()) == (7.0, 0.0)
    clock.advance(2.5)
    assert (clock.now(), clock.monotonic()) == (9.5, 2.5)
