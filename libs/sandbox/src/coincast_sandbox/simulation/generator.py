"""Simulate a market of daily candles: volatility clusters (GARCH), jumps, and bitcoin as the common factor.

A coin's daily log return is beta * r_bitcoin plus its own noise; the noise of each coin and of bitcoin
follows a GARCH(1, 1) process with Poisson jumps. Each purpose has its own random generator, and numbers are
drawn day by day, so a longer simulation begins with the same days as a shorter one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np

from coincast_sandbox.simulation.candles import DailyCandles, Floats, day_number
from coincast_sandbox.simulation.coin_names import KnownCoin

FIRST_DAY = day_number(date(2019, 1, 1))
ALPHA, BETA = 0.09, 0.88


@dataclass(frozen=True, slots=True)
class _Traits:
    """Parameters of the coins: daily volatility, dependence on bitcoin, first price, age; each (n,)."""

    volatility: Floats
    beta: Floats
    price: Floats
    listed_after_days: Floats


def simulate(coins: list[KnownCoin], last_day: int, seed: int) -> dict[str, DailyCandles]:
    """Simulate candles of every coin to `last_day`; the first coin is the common factor.

    Args:
        coins: The coins, bitcoin first.
        last_day: Last day, counted from 1970-01-01. Candles start in 2019, or later for coins listed later.
        seed: Random seed.
    """
    days = last_day - FIRST_DAY + 1
    traits = _traits(coins, seed)
    returns = _returns(traits, days, seed)
    close = traits.price * np.exp(np.cumsum(returns, axis=0))
    opened = np.vstack([traits.price, close[:-1]])
    spread = np.abs(_generator(seed, 5).standard_normal((days, 2, len(coins)))) * traits.volatility * 0.6
    high = np.maximum(opened, close) * np.exp(spread[:, 0])
    low = np.minimum(opened, close) * np.exp(-spread[:, 1])
    volume = _volumes(coins, close, returns, traits, seed)
    found = {}
    for i, coin in enumerate(coins):
        start = min(int(traits.listed_after_days[i]), days - 2)
        columns = (x[start:, i].copy() for x in (opened, high, low, close, volume))
        found[coin.id] = DailyCandles(FIRST_DAY + start, *columns)
    return found


def next_candle(candles: DailyCandles, rng: np.random.Generator) -> tuple[float, float, float, float, float]:
    """Simulate open, high, low, close, volume of the day after the last candle, with recent volatility."""
    recent = np.diff(np.log(candles.close[-31:]))
    sigma = min(float(np.std(recent)), 0.15) if len(recent) > 1 else 0.03
    opened = float(candles.close[-1])
    close = opened * float(np.exp(sigma * rng.standard_normal()))
    up, down = np.abs(rng.standard_normal(2)) * sigma * 0.6
    high, low = max(opened, close) * float(np.exp(up)), min(opened, close) * float(np.exp(-down))
    return (
        opened,
        high,
        low,
        close,
        float(np.median(candles.volume[-30:]) * np.exp(0.3 * rng.standard_normal())),
    )


def _generator(seed: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng([seed, purpose])


def _traits(coins: list[KnownCoin], seed: int) -> _Traits:
    rng = _generator(seed, 1)
    count = len(coins)
    volatility = rng.uniform(0.03, 0.06, count)
    beta = rng.uniform(0.5, 1.4, count)
    listed = np.where(np.arange(count) < 20, 0, rng.integers(0, 2000, count))
    volatility[0], beta[0] = 0.028, 0.0
    stable = np.array([coin.stable for coin in coins])
    volatility[stable], beta[stable] = 0.0006, 0.0
    return _Traits(volatility, beta, np.array([coin.price for coin in coins]), listed.astype(np.float64))


def _returns(traits: _Traits, days: int, seed: int) -> Floats:
    """Return log returns (days, coins)."""
    count = len(traits.beta)
    shocks = _generator(seed, 2).standard_normal((days, count))
    jump_draws = _generator(seed, 3).random((days, count))
    jump_sizes = _generator(seed, 4).standard_normal((days, count)) * 5.0 * traits.volatility
    jumps = np.where(jump_draws < 0.004, jump_sizes, 0.0)
    target = traits.volatility**2
    variance = target.copy()
    noise = np.empty((days, count))
    for day in range(days):
        noise[day] = np.sqrt(variance) * shocks[day]
        variance = (1 - ALPHA - BETA) * target + ALPHA * noise[day] ** 2 + BETA * variance
    noise += jumps
    return noise + np.outer(noise[:, 0], traits.beta)


def _volumes(coins: list[KnownCoin], close: Floats, returns: Floats, traits: _Traits, seed: int) -> Floats:
    supply = np.array([coin.supply for coin in coins])
    wobble = np.exp(0.4 * _generator(seed, 6).standard_normal(returns.shape))
    unrest = 1.0 + np.abs(returns) / traits.volatility
    return np.asarray(0.02 * close * supply * wobble * unrest)
