"""Confirmed lines are kept until Redis has run for long enough to have them on its disk."""

from __future__ import annotations

from coincast_forecast.prediction_log.unsafe_lines import MAX_UNSAFE_BYTES, UNSAFE_SECONDS, UnsafeLines


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_lines_are_forgotten_once_redis_has_run_on_for_the_time() -> None:
    clock = Clock()
    lines = UnsafeLines(clock)
    lines.add(["early"])
    clock.now += 4
    lines.add(["late"])
    lines.forget(100 + UNSAFE_SECONDS - 0.1)
    lines.forget(100 + UNSAFE_SECONDS)
    assert lines.take() == ["late"]
    assert lines.take() == []


def test_lines_are_taken_in_their_order() -> None:
    lines = UnsafeLines()
    lines.add(["a", "b"])
    lines.add([])
    lines.add(["c"])
    assert lines.take() == ["a", "b", "c"]


def test_what_is_kept_is_bounded_in_bytes() -> None:
    clock = Clock()
    lines = UnsafeLines(clock)
    lines.add(["x" * (MAX_UNSAFE_BYTES - 1)])
    assert not lines.full
    lines.add(["y"])
    assert lines.full
    lines.forget(clock.now + UNSAFE_SECONDS)
    assert not lines.full
