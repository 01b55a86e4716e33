"""Compare the speed of the features with that of a library of technical analysis (`ta`).

Both compute the same 21 indicators over 2,000 days. The time of all features, and of the latest row of one
coin, is printed as well.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
from ta.momentum import PercentagePriceOscillator, ROCIndicator, RSIIndicator, StochasticOscillator
from ta.trend import CCIIndicator, EMAIndicator, SMAIndicator
from ta.volatility import AverageTrueRange, BollingerBands
from ta.volume import MFIIndicator

from coincast_modelkit.candles import Candles
from coincast_modelkit.features import DEFAULT_SPEC, REFERENCE_COINS, batch, latest, market_of, spec_of

DAYS, ROUNDS, LIMIT = 2000, 15, 8.0


def candles(coin_id: str, seed: int) -> Candles:
    """Return a random walk with ranges and volume."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(0.03 * rng.standard_normal(DAYS)))
    high = close * np.exp(0.02 * rng.random(DAYS))
    low = close * np.exp(-0.02 * rng.random(DAYS))
    dates = np.datetime64("2019-01-01", "D") + np.arange(DAYS).astype("timedelta64[D]")
    opening, volume = np.roll(close, 1), 1e8 * (1 + rng.random(DAYS))
    return Candles.of(coin_id, dates, close, open=opening, high=high, low=low, volume=volume)


def by_library(d: pd.DataFrame) -> None:
    """Compute the indicators of OURS with the library."""
    for window in (7, 14, 28):
        RSIIndicator(d.close, window).rsi()
    oscillator = PercentagePriceOscillator(d.close, 26, 12, 9)
    oscillator.ppo(), oscillator.ppo_signal(), oscillator.ppo_hist()
    ROCIndicator(d.close, 7).roc(), ROCIndicator(d.close, 30).roc()
    bands = BollingerBands(d.close, 20, 2)
    bands.bollinger_pband(), bands.bollinger_wband()
    stochastic = StochasticOscillator(d.high, d.low, d.close, 14, 3)
    stochastic.stoch(), stochastic.stoch_signal()
    AverageTrueRange(d.high, d.low, d.close, 14).average_true_range()
    CCIIndicator(d.high, d.low, d.close, 20).cci()
    MFIIndicator(d.high, d.low, d.close, d.volume, 14).money_flow_index()
    for window in (7, 30, 200):
        SMAIndicator(d.close, window).sma_indicator()
    for window in (12, 26, 50):
        EMAIndicator(d.close, window).ema_indicator()


# fmt: off
OURS = spec_of([
    "rsi_7", "rsi_14", "rsi_28", "macd", "macd_signal", "macd_histogram", "roc_7", "roc_30",
    "bollinger_position_20", "bollinger_width_20", "stochastic_14", "stochastic_signal_14", "atr_14",
    "cci_20", "money_flow_14", "sma_distance_7", "sma_distance_30", "sma_distance_200", "ema_distance_12",
    "ema_distance_26", "ema_distance_50",
])
# fmt: on


def seconds(work: Callable[[], object]) -> float:
    """Return the processor seconds of one call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> int:
    """Print the figures; return 1 if the ratio is below the limit."""
    panel = {coin: candles(coin, i) for i, coin in enumerate(REFERENCE_COINS)}
    coin, market = panel["ethereum"], market_of(panel)
    frame = pd.DataFrame({f: getattr(coin, f) for f in ("open", "high", "low", "close", "volume")})
    works: dict[str, Callable[[], object]] = {
        "library": lambda: by_library(frame),
        "same": lambda: batch(coin, market, OURS),
        "all": lambda: batch(coin, market, DEFAULT_SPEC),
        "latest": lambda: latest(coin, market, DEFAULT_SPEC),
        "market": lambda: market_of(panel),
    }
    for work in works.values():
        work()
    # Interleaved, so that a slow moment of the machine affects all of them.
    rounds = [{name: seconds(work) for name, work in works.items()} for _ in range(ROUNDS)]
    ms = {name: 1000 * statistics.median(r[name] for r in rounds) for name in works}
    ratio = statistics.median(r["library"] / r["same"] for r in rounds)
    print(f"{len(OURS.names)} indicators, {DAYS} days: ta {ms['library']:.1f} ms, here {ms['same']:.2f} ms")
    print(f"  {ratio:.1f} times faster (limit: at least {LIMIT:.0f})")
    print(f"all {len(DEFAULT_SPEC.names)} features: batch {ms['all']:.1f} ms, latest {ms['latest']:.2f} ms")
    print(f"the market's own series, once for all coins: {ms['market']:.1f} ms")
    return 0 if ratio >= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
