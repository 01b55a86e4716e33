"""The last known responses: for a day, within their bytes."""

from __future__ import annotations

from coincast_chassis.clock import ManualClock
from coincast_gateway.cache.last_known import MAX_AGE_SECONDS, LastKnownResponses


def test_a_response_is_known_for_a_day() -> None:
    clock = ManualClock()
    known = LastKnownResponses(max_bytes=10_000, clock=clock)
    assert known.find("a") is None
    known.store("a", b"one")
    clock.advance(MAX_AGE_SECONDS)
    assert known.find("a") == (b"one", MAX_AGE_SECONDS)
    clock.advance(1)
    assert known.find("a") is None
    known.store("a", b"two")
    assert known.find("a") == (b"two", 0.0)


def test_the_memory_is_bounded_by_bytes() -> None:
    known = LastKnownResponses(max_bytes=10_000, clock=ManualClock())
    for number in range(20_000):
        known.store(str(number), b"x" * (number % 3_000))
        assert known.size_bytes <= 10_000
    known.store("large", b"x" * 20_000)
    assert known.find("large") is None
    assert len(known) > 0
