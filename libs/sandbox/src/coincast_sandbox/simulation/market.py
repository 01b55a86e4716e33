"""The whole made-up or replayed market: which coins there are, on which clock, in which currencies."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from coincast_sandbox.clock import SandboxClock
from coincast_sandbox.simulation.candles import DailyCandles, Floats, day_number, day_of, read_folder
from coincast_sandbox.simulation.coin_names import KnownCoin, coin_names, named
from coincast_sandbox.simulation.generator import simulate
from coincast_sandbox.simulation.series import CoinSeries

SIMULATED_COINS = 300
# The last whole UTC day is there from 00:35 UTC.
SETTLE_SECONDS = 35 * 60
# Units for one US dollar; fixed, since only the shape of a reply depends on them.
FIAT_PER_USD = {
    "usd": 1.0, "eur": 0.92, "gbp": 0.79, "jpy": 149.0, "chf": 0.88, "cad": 1.37, "aud": 1.52, "cny": 7.2,
    "inr": 84.0, "brl": 5.6, "krw": 1380.0, "mxn": 18.6, "sek": 10.4, "pln": 3.9, "try": 33.0, "zar": 18.1,
}  # fmt: skip
COIN_CURRENCIES = {"btc": "bitcoin", "eth": "ethereum"}


@dataclass(frozen=True, slots=True)
class Market:
    """Every coin's series by id, in order of importance, and the clock they are read on."""

    mode: str
    clock: SandboxClock
    series: Mapping[str, CoinSeries]
    names: Mapping[str, KnownCoin]

    def currencies(self) -> list[str]:
        """Lower-case codes of the currencies that prices can be given in."""
        return [c for c, coin in COIN_CURRENCIES.items() if coin in self.series] + list(FIAT_PER_USD)

    def per_usd(self, currency: str, times: Floats) -> Floats:
        """Units of `currency` for one US dollar at UNIX seconds (n,)."""
        if currency in FIAT_PER_USD:
            return np.full(times.shape, FIAT_PER_USD[currency])
        return 1.0 / self.series[COIN_CURRENCIES[currency]].price_at(times)

    def supply(self, coin_id: str) -> float | None:
        """Coins in circulation (constant); None for a few coins, as CoinGecko has it."""
        return (
            None
            if hash_of(coin_id) % 17 == 3 and named(coin_id).supply == 1e9
            else self.names[coin_id].supply
        )

    def last_closed_day(self) -> int:
        """The newest day whose candle is served, counted from 1970-01-01."""
        return int((self.clock.now() - SETTLE_SECONDS) // 86400) - 1


def hash_of(text: str) -> int:
    """A number that depends on the text alone, in any process."""
    return sum((i + 1) * byte for i, byte in enumerate(text.encode()))


def open_market(
    folder: Path | None, today: date | None, seed: int, wall: Callable[[], float] = time.time
) -> Market:
    """A replayed folder, or a simulated market where none is given. Raises CandlesError.

    `wall` is the machine's clock, UNIX seconds; only its time of day and its pace count where `today` is set.
    """
    if folder is None:
        return _simulated(SandboxClock(today, wall), seed)
    candles = read_folder(folder)
    last = max(c.last_day for c in candles.values())
    clock = SandboxClock(today or day_of(last) + timedelta(days=1), wall)
    names = {coin_id: named(coin_id) for coin_id in candles}
    ranked = sorted(candles, key=lambda i: -names[i].supply * float(candles[i].close[-1]))
    return _market("replay", clock, {i: candles[i] for i in ranked}, names, seed)


def _simulated(clock: SandboxClock, seed: int) -> Market:
    coins = coin_names(SIMULATED_COINS, seed)
    last_day = max(clock.today() + 2, day_number(date(2019, 6, 1)))
    return _market("simulation", clock, simulate(coins, last_day, seed), {c.id: c for c in coins}, seed)


def _market(
    mode: str,
    clock: SandboxClock,
    candles: Mapping[str, DailyCandles],
    names: Mapping[str, KnownCoin],
    seed: int,
) -> Market:
    series = {coin_id: CoinSeries(coin_id, c, seed) for coin_id, c in candles.items()}
    return Market(mode, clock, series, names)
