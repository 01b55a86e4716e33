"""Measure the memory of 1,000 coins in the cache of the process, and the time of a look-up.

python bench/market_memory.py
"""

from __future__ import annotations

import asyncio
import time
import tracemalloc

from coincast_chassis.clock import SystemClock
from coincast_market_data.cache.two_level import CacheEntry, CacheStats, NullStore, TwoLevelCache
from coincast_market_data.domain import Candle, Quote
from coincast_market_data.history.candle_builder import day_of, days_between
from coincast_market_data.identifiers import quote_key
from coincast_market_data.prices.fetcher import quote_kind

COINS = 1_000


async def main() -> None:
    """Fill the cache, measure its memory, and print the figures."""
    clock = SystemClock()
    cache = TwoLevelCache(quote_kind(30, 86_400), NullStore(), clock, CacheStats(), max_entries=50_000)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(COINS):
        price = 100.0 + number
        quote = Quote(f"coin-{number}", "usd", price, price * 1e6, price * 1e4, 1.5, clock.now())
        entry: CacheEntry[Quote | None] = CacheEntry(quote, clock.now(), clock.now(), 0.1)
        cache.write({quote_key((quote.id, "usd")): entry})
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"memory of {COINS} cached prices: {(after - before) / 1024:.0f} KiB")
    keys = [quote_key((f"coin-{number}", "usd")) for number in range(20)]
    started = time.perf_counter()
    for _ in range(2000):
        await cache.read(keys)
    print(f"look-up of 20 cached prices: {(time.perf_counter() - started) / 2000 * 1e6:.1f} us")
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    today = day_of(clock.now())
    days = days_between(today.replace(year=today.year - 1), today)
    kept = [
        tuple(Candle(day, 1.5, 1.25, 1.75, 1.0, 1e6 + n, 1e9 + n) for n, day in enumerate(days))
        for _ in range(100)
    ]
    after, _ = tracemalloc.get_traced_memory()
    mebibytes = (after - before) / 1024**2 * COINS / len(kept)
    print(f"memory of a year of candles for {COINS} coins: {mebibytes:.0f} MiB")


if __name__ == "__main__":
    asyncio.run(main())
