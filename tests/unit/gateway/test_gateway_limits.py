"""The bucket: acquire.lua and its Python twin agree, and neither ever lets more through than the limit."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coincast_chassis.clock import ManualClock
from coincast_gateway.auth.api_keys import ApiKeyCache, KeyRecord, digest_of
from coincast_gateway.auth.credentials import client_network
from coincast_gateway.auth.rate_limit import WINDOW_SECONDS, Limiter, take


@given(
    st.integers(1, 500),
    st.lists(st.tuples(st.floats(0, 20), st.integers(1, 30)), min_size=1, max_size=60),
)
def test_no_window_grants_more_than_twice_the_limit_and_a_burst_never_more_than_once(
    limit: int, asks: list[tuple[float, int]]
) -> None:
    full_at, now = 0.0, 1000.0
    granted: list[tuple[float, int]] = []
    for pause, wanted in asks:
        now += pause
        full_at, taken = take(full_at, now, limit=limit, wanted=wanted)
        assert 0 <= taken.granted <= wanted
        assert 0 <= taken.left <= limit
        if taken.granted == 0:
            assert taken.wait_seconds > 0
        granted.append((now, taken.granted))
        # A bucket that was full lets a burst of `limit` through, and fills again at limit / window.
        for start, _ in granted:
            span = sum(n for at, n in granted if start <= at <= now)
            assert span <= limit + (now - start) * limit / WINDOW_SECONDS + 1


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
