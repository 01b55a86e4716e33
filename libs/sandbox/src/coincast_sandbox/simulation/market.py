"""The simulated or replayed market: its coins, its clock and its currencies."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from coincast_sandbox.clock import SandboxClock
from coincast_sandbox.simulation.candles import DailyCandles, Floats, day_number, day_of, read_folder
from coincast_sandbox.simulation.coin_names import KnownCoin, coin_names, named
from coincast_sandbox.simulation.currencies import CURRENCIES
from coincast_sandbox.simulation.generator import simulate
from coincast_sandbox.simulation.series import CoinSeries

SIMULATED_COINS = 300
# A UTC day is served 35 minutes after its end, like CoinGecko's.
SETTLE_SECONDS = 35 * 60


@dataclass(frozen=True, slots=True)
class Market:
    """The series of every coin by id, largest coin first, and the clock of the market.

    `set_aside` lists the rejected rows of a replayed folder, with file and line.
    """

    mode: str
    clock: SandboxClock
    series: Mapping[str, CoinSeries]
    names: Mapping[str, KnownCoin]
    set_aside: tuple[str, ...] = ()

    def currencies(self) -> list[str]:
        """Return the lower-case codes of the currencies that prices can be quoted in."""
        return list(CURRENCIES)

    def per_usd(self, currency: str, times: Floats) -> Floats:
        """Return the price of one US dollar in `currency` at UNIX seconds (n,)."""
        quoted = CURRENCIES[currency]
        if quoted.coin_id is None or quoted.coin_id not in self.series:
            return np.full(times.shape, quoted.per_usd)
        return np.asarray(quoted.units / self.series[quoted.coin_id].price_at(times))

    def supply(self, coin_id: str) -> float | None:
        """Return the circulating supply (constant); None for a few coins, like CoinGecko."""
        return (
            None
            if hash_of(coin_id) % 17 == 3 and named(coin_id).supply == 1e9
            else self.names[coin_id].supply
        )

    def last_closed_day(self) -> int:
        """Return the newest day whose candle is served, counted from 1970-01-01."""
        return int((self.clock.now() - SETTLE_SECONDS) // 86400) - 1


def hash_of(text: str) -> int:
    """Return a number that depends only on the text, in every process."""
    return sum((i + 1) * byte for i, byte in enumerate(text.encode()))


def open_market(
    folder: Path | None, today: date | None, seed: int, wall: Callable[[], float] = time.time
) -> Market:
    """Open a market that replays a folder, or a simulated one without a folder.

    Args:
        folder: Folder of candle files.
        today: The current day; None is the day after the last candle.
        seed: Random seed of the simulation.
        wall: The wall clock, UNIX seconds; if `today` is set, only its time of day matters.

    Raises:
        CandlesError: The folder cannot be read.
    """
    if folder is None:
        return _simulated(SandboxClock(today, wall), seed)
    read = read_folder(folder, today)
    candles = read.candles
    last = max(c.last_day for c in candles.values())
    clock = SandboxClock(today or day_of(last) + timedelta(days=1), wall)
    names = {coin_id: named(coin_id) for coin_id in candles}
    ranked = sorted(candles, key=lambda i: -names[i].supply * float(candles[i].close[-1]))
    return _market(
        "replay", clock, {i: candles[i] for i in ranked}, names, seed=seed, set_aside=read.set_aside
    )


def _simulated(clock: SandboxClock, seed: int) -> Market:
    coins = coin_names(SIMULATED_COINS, seed)
    last_day = max(clock.today() + 2, day_number(date(2019, 6, 1)))
    return _market("simulation", clock, simulate(coins, last_day, seed), {c.id: c for c in coins}, seed=seed)


def _market(
    mode: str,
    clock: SandboxClock,
    candles: Mapping[str, DailyCandles],
    names: Mapping[str, KnownCoin],
    *,
    seed: int,
    set_aside: tuple[str, ...] = (),
) -> Market:
    series = {coin_id: CoinSeries(coin_id, c, seed) for coin_id, c in candles.items()}
    return Market(mode, clock, series, names, set_aside)
