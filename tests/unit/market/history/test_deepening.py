"""Completing histories in the background: behind callers, one coin at a time, again after a failure."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import date

import pytest

from coincast_chassis.errors import CoincastError, NotFound, Unavailable
from coincast_market_data.history.deepening import (
    ATTEMPTS,
    RETRY_SECONDS,
    CallerPrecedence,
    HistoryDeepener,
)

FIRST = date(2024, 1, 1)


class Enrichment:
    """What the deepener calls; fails with the given errors first, and can be held."""

    def __init__(self, errors: Sequence[CoincastError] = ()) -> None:
        self._errors = list(errors)
        self.coins: list[str] = []
        self.at_once = self.most_at_once = 0
        self.pauses: list[float] = []
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, coin: str, currency: str, first: date) -> int:
        self.coins.append(coin)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.go.wait()
            if self._errors:
                raise self._errors.pop(0)
        finally:
            self.at_once -= 1
        return 1

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


async def test_coins_are_completed_one_after_the_other() -> None:
    enrich = Enrichment()
    enrich.go.clear()
    deepener = HistoryDeepener(enrich)
    for coin in ("bitcoin", "ethereum", "bitcoin"):
        deepener.submit(coin, "usd", FIRST)
    await asyncio.sleep(0)
    assert deepener.is_pending("bitcoin", "usd")
    assert not deepener.is_pending("solana", "usd")
    enrich.go.set()
    for coin in ("bitcoin", "ethereum", "solana"):
        await deepener.wait(coin, "usd")
    assert (enrich.coins, enrich.most_at_once) == (["bitcoin", "ethereum"], 1)
    assert not deepener.is_pending("bitcoin", "usd")


DOWN = Unavailable("down")


@pytest.mark.parametrize(
    ("errors", "pauses", "calls"),
    [
        ([], [], 1),
        ([DOWN, DOWN], [RETRY_SECONDS, RETRY_SECONDS], 3),
        ([Unavailable("full", retry_after_seconds=7.0)], [7.0], 2),
        ([NotFound("no such coin")], [], 1),
        ([DOWN] * 50, [RETRY_SECONDS] * ATTEMPTS, ATTEMPTS),
    ],
)
async def test_a_failure_is_tried_again_where_that_may_help(
    errors: list[CoincastError], pauses: list[float], calls: int
) -> None:
    enrich = Enrichment(errors)
    deepener = HistoryDeepener(enrich, sleep=enrich.sleep)
    deepener.submit("bitcoin", "usd", FIRST)
    await deepener.wait("bitcoin", "usd")
    assert (enrich.pauses, len(enrich.coins)) == (pauses, calls)


async def test_other_calls_wait_for_the_last_caller_and_not_for_ever() -> None:
    precedence = CallerPrecedence()
    await precedence.give_way()
    with precedence.caller():
        with precedence.caller():
            pass
        waiting = asyncio.create_task(precedence.give_way(60.0))
        await asyncio.sleep(0)
        assert not waiting.done(), "one caller is left"
        await precedence.give_way(0.0)
    await waiting
