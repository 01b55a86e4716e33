"""The bounded cache: its limits hold in bytes, entries and age, whatever is put into it."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coincast.common.v1 import common_pb2
from coincast_chassis.clock import ManualClock
from coincast_chassis.resilience.bounded_cache import ENTRY_OVERHEAD_BYTES, BoundedCache, estimate_bytes


def test_the_least_recently_used_entry_goes_first() -> None:
    cache = BoundedCache[str, bytes](max_bytes=2 * (1000 + ENTRY_OVERHEAD_BYTES + 50 + 33), size_of=len)
    assert cache.put("a", bytes(1000))
    assert cache.put("b", bytes(1000))
    assert cache.get("a") is not None
    assert cache.put("c", bytes(1000))
    assert sorted(cache) == ["a", "c"]
    assert cache.get("b", b"absent") == b"absent"


def test_a_value_over_the_limit_is_not_stored_and_drops_the_old_one() -> None:
    cache = BoundedCache[str, bytes](max_bytes=2000)
    assert cache.put("a", b"old")
    assert not cache.put("a", bytes(2000))
    assert (cache.get("a"), len(cache), cache.size_bytes) == (None, 0, 0)


def test_entries_expire_on_the_monotonic_clock() -> None:
    clock = ManualClock()
    cache = BoundedCache[str, int](max_bytes=10_000, ttl_seconds=5, clock=clock)
    cache.put("a", 1)
    clock.set_wall(0)
    clock.advance(4.9)
    assert cache.get("a") == 1
    clock.advance(0.2)
    assert (cache.get("a"), "a" in cache) == (None, False)


def test_the_number_of_entries_is_bounded() -> None:
    cache = BoundedCache[int, int](max_bytes=1_000_000, max_entries=3)
    for key in range(10):
        cache.put(key, key)
    assert sorted(cache) == [7, 8, 9]
    assert cache.pop(9) == 9
    assert cache.pop(9) is None
    cache.clear()
    assert (len(cache), cache.size_bytes) == (0, 0)


def test_limits_must_be_positive() -> None:
    with pytest.raises(ValueError, match="must be positive"):
        BoundedCache(max_bytes=0)


@given(st.lists(st.tuples(st.integers(0, 20), st.binary(max_size=3000)), max_size=60))
def test_the_limit_in_bytes_always_holds(puts: list[tuple[int, bytes]]) -> None:
    cache = BoundedCache[int, bytes](max_bytes=8000)
    for key, value in puts:
        stored = cache.put(key, value)
        assert cache.size_bytes <= 8000
        assert (cache.get(key) == value) is stored


@pytest.mark.slow
def test_20000_hostile_keys_stay_within_the_limit_in_memory() -> None:
    cache = BoundedCache[str, tuple[str, ...]](max_bytes=1 << 20)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(20_000):
            cache.put(f"/prices?ids={number:0500d}", (f"coin-{number}", "usd" * (number % 7)))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 1.5 * (1 << 20)


@dataclass(slots=True)
class Slotted:
    body: bytes


@dataclass
class Plain:
    body: bytes


@pytest.mark.parametrize(
    "value",
    [
        bytes(10_000),
        "x" * 10_000,
        [bytes(5000), bytes(5000)],
        {"a": bytes(5000), "b": {"c": bytes(5000)}},
        Slotted(bytes(10_000)),
        Plain(bytes(10_000)),
        common_pb2.ItemError(message="x" * 10_000),
        memoryview(bytes(10_000)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_sizes_cover_what_a_value_holds(value: object) -> None:
    assert 10_000 <= estimate_bytes(value) <= 31_000
