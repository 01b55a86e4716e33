"""The back-off of restarts: each process by itself, healthy ones from the beginning."""

from __future__ import annotations

from coincast_chassis.clock import ManualClock
from coincast_stack.processes.restart_policy import HEALTHY_SECONDS, MAX_FAILED_STARTS, RestartPolicy


def test_delays_grow_and_end() -> None:
    policy = RestartPolicy(ManualClock().monotonic)
    policy.record_start("market")
    delays = [policy.delay_after_end("market") for _ in range(MAX_FAILED_STARTS + 1)]
    assert delays == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, None]


def test_each_process_is_counted_by_itself() -> None:
    policy = RestartPolicy(ManualClock().monotonic)
    assert [policy.delay_after_end("market") for _ in range(3)] == [0.0, 0.5, 1.0]
    assert policy.delay_after_end("forecast") == 0.0


def test_a_healthy_process_starts_from_the_beginning() -> None:
    clock = ManualClock()
    policy = RestartPolicy(clock.monotonic)
    for _ in range(5):
        policy.record_start("market")
        policy.delay_after_end("market")
    policy.record_start("market")
    clock.advance(HEALTHY_SECONDS)
    assert policy.delay_after_end("market") == 0.0
