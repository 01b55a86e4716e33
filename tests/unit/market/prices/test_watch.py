"""Subscribers of price streams: bounded in number and in the pairs that they watch."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any, cast

import pytest

from coincast_chassis.clock import ManualClock
from coincast_chassis.errors import Exhausted
from coincast_market_data.prices.service import PriceService
from coincast_market_data.prices.watch import MAX_SUBSCRIBERS, MAX_WATCHED_PAIRS, PriceUpdate, PriceWatch


class NoPrices:
    """Knows every coin and no price."""

    def watchable(self, ids: Sequence[str], codes: Sequence[str]) -> tuple[list[Any], list[Any]]:
        return [(coin, code) for coin in ids for code in codes or ["usd"]], []

    async def cached(self, _: Sequence[Any]) -> dict[Any, Any]:
        return {}

    async def poll(self, _: Sequence[Any]) -> tuple[dict[Any, Any], dict[str, Any]]:
        return {}, {}


@pytest.fixture
def watch() -> PriceWatch:
    service = cast(PriceService, NoPrices())
    return PriceWatch(service, ManualClock(), poll_seconds=60.0, heartbeat_seconds=60.0)


async def opened(
    watch: PriceWatch, ids: Sequence[str], codes: Sequence[str] = ()
) -> AsyncGenerator[PriceUpdate, None] | None:
    """Subscribe and read the first message; None if the subscription is refused."""
    updates = watch.subscribe(ids, codes)
    try:
        await anext(updates)
    except Exhausted:
        return None
    return updates


@pytest.mark.slow
async def test_20000_hostile_subscriptions_hold_a_bounded_number_of_pairs(watch: PriceWatch) -> None:
    codes = [f"c{n}" for n in range(20)]
    held = []
    for number in range(20_000):
        found = await opened(watch, [f"{number}-{n}" for n in range(250 if number < 100 else 5)], codes)
        held += [found] if found else []
    assert len(held) <= MAX_WATCHED_PAIRS // (5 * 20)
    assert await opened(watch, ["bitcoin"]) is None
    for updates in held:
        await updates.aclose()
    again = await opened(watch, ["bitcoin"])
    assert again, "what was refused is possible once the others have gone"
    await again.aclose()
    await watch.aclose()


@pytest.mark.slow
async def test_subscribers_of_the_same_coins_share_their_set(watch: PriceWatch) -> None:
    ids = [f"coin-{n}" for n in range(250)]
    held = [await opened(watch, list(ids), ["usd"]) for _ in range(MAX_SUBSCRIBERS)]
    assert all(held), "a thousand dashboards of the same coins are no attack"
    assert await opened(watch, ids, ["usd"]) is None
    for updates in held:
        assert updates is not None
        await updates.aclose()
    await watch.aclose()
