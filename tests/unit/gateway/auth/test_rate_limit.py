"""The sliding window of a process: no window grants more than the limit, and a steady caller gets it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coincast_chassis.clock import ManualClock
from coincast_gateway.auth.api_keys import ApiKeyCache, KeyRecord, digest_of
from coincast_gateway.auth.credentials import client_network
from coincast_gateway.auth.rate_limit import WINDOW_SECONDS, Limiter, WindowCounts, limit_headers


@given(
    st.integers(1, 500),
    st.lists(st.tuples(st.floats(0, 20), st.integers(1, 30)), min_size=1, max_size=60),
)
def test_no_window_grants_more_than_the_limit(limit: int, asks: list[tuple[float, int]]) -> None:
    counts, now = WindowCounts(), 1000.0
    granted: list[tuple[float, int]] = []
    for pause, wanted in asks:
        now += pause
        taken = counts.grant(now, limit=limit, wanted=wanted)
        assert 0 <= taken.granted <= wanted
        assert 0 <= taken.left <= limit
        if taken.granted == 0:
            assert taken.wait_seconds > 0
        granted.append((now, taken.granted))
        for start, _ in granted:
            span = sum(n for at, n in granted if start <= at < start + WINDOW_SECONDS)
            assert span <= limit


@pytest.mark.parametrize("limit", [1, 60, 599, 600, 6000])
async def test_a_steady_caller_gets_nearly_the_whole_limit(limit: int) -> None:
    clock, served = ManualClock(), 0
    limiter = Limiter(None, clock)
    for _ in range(2 * limit):
        clock.advance(WINDOW_SECONDS / limit)
        if limiter.try_acquire("a") is not None or (await limiter.acquire("a", limit))[1] == 0.0:
            served += 1
    assert served >= 2 * limit * 0.95 - 1


async def test_alone_each_process_grants_its_part_and_says_so() -> None:
    clock = ManualClock()
    limiter = Limiter(None, clock, workers=4)
    lease, wait = await limiter.acquire("a", 60)
    granted = 1
    while wait == 0.0:
        granted += 1
        lease, wait = await limiter.acquire("a", 60)
    assert granted - 1 == 15
    assert dict(limit_headers(lease, 60, clock.monotonic()))[b"ratelimit-policy"] == b'"minute";q=15;w=60'


async def test_subjects_are_bounded() -> None:
    limiter = Limiter(None, ManualClock(), max_subjects=100)
    for n in range(1000):
        await limiter.acquire(f"address:{n}", 60)
    assert len(limiter) == 100


async def test_the_wait_is_true() -> None:
    clock = ManualClock()
    limiter = Limiter(None, clock)
    wait = 0.0
    for _ in range(61):
        if limiter.try_acquire("a") is None:
            _, wait = await limiter.acquire("a", 60)
    assert wait > 0
    clock.advance(wait + 0.001)
    assert (await limiter.acquire("a", 60))[1] == 0.0


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::"),
        ("2001:db8::ffff:1", "2001:db8::"),
        ("x", "unknown"),
    ],
)
def test_what_counts_as_one_client(address: str, network: str) -> None:
    assert client_network(address) == network


@settings(max_examples=30)
@given(st.text(max_size=300))
def test_no_guess_opens_the_ring(guess: str) -> None:
    ring = ApiKeyCache()
    ring.replace([KeyRecord("a", digest_of("cc_right"), frozenset({"read"}), 0.0)], 0.0)
    assert ring.find(guess) is None
    assert ring.find("cc_right") is not None
