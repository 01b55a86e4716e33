"""Prices of a coin at any time: daily candles, simulated days after their end, and intraday paths."""

from __future__ import annotations

import zlib
from functools import lru_cache

import numpy as np

from coincast_sandbox.simulation.brownian_bridge import POINTS_PER_DAY, STEP_SECONDS, day_path
from coincast_sandbox.simulation.candles import DailyCandles, Floats, midnight
from coincast_sandbox.simulation.generator import next_candle


class CoinSeries:
    """Prices and volumes of a coin in USD.

    The same seed and candles give the same values in every process and for every order of calls.
    """

    def __init__(self, coin_id: str, candles: DailyCandles, seed: int) -> None:
        self._identity = [seed, zlib.crc32(coin_id.encode())]
        self._candles = candles
        self.first_day = candles.first_day
        # CoinGecko's points are not aligned to full minutes; each coin has a constant shift.
        self.phase_seconds = 7.0 + np.random.default_rng(self._identity).random() * 120.0
        self._path = lru_cache(maxsize=64)(self._make_path)

    def candles(self, last_day: int) -> DailyCandles:
        """Return candles to at least `last_day`; days after the last given candle are simulated in order."""
        while self._candles.last_day < last_day:
            c = self._candles
            new = next_candle(c, np.random.default_rng([*self._identity, c.last_day + 1, 1]))
            columns = (
                np.append(a, v) for a, v in zip((c.open, c.high, c.low, c.close, c.volume), new, strict=True)
            )
            self._candles = DailyCandles(c.first_day, *columns)
        return self._candles

    def started(self) -> float:
        """Return UNIX seconds of the first price."""
        return midnight(self.first_day) + self.phase_seconds

    def daily(self, name: str, days: np.ndarray) -> Floats:
        """Return a candle column (open, high, low, close, volume) for days not before `first_day`."""
        candles = self.candles(int(days.max()))
        column: Floats = getattr(candles, name)
        return np.asarray(column[days - self.first_day], dtype=np.float64)

    def points(self, day: int) -> tuple[Floats, Floats]:
        """Return the 288 points of a day: UNIX seconds, prices."""
        times = (
            midnight(day) + self.phase_seconds + np.arange(POINTS_PER_DAY, dtype=np.float64) * STEP_SECONDS
        )
        return times, self._path(day)

    def price_at(self, times: Floats) -> Floats:
        """Return prices at UNIX seconds (n,), along the path; NaN before the first price."""
        days = np.floor(times / 86400).astype(np.int64)
        prices = np.full(times.shape, np.nan)
        for day in np.unique(days[days >= self.first_day]):
            at = days == day
            stamps, path = self.points(int(day))
            prices[at] = np.interp(times[at], stamps, path)
        return prices

    def volume_24h_at(self, times: Floats) -> Floats:
        """Return the volume of the 24 hours before each time, interpolated between two days' volumes."""
        days = np.floor(times / 86400).astype(np.int64)
        share = times / 86400 - days
        today = self.daily("volume", np.maximum(days, self.first_day))
        before = self.daily("volume", np.maximum(days - 1, self.first_day))
        return np.asarray(before * (1 - share) + today * share)

    def _make_path(self, day: int) -> Floats:
        candles = self.candles(day)
        i = day - candles.first_day
        rng = np.random.default_rng([*self._identity, day, 2])
        return day_path(
            float(candles.open[i]),
            float(candles.high[i]),
            float(candles.low[i]),
            float(candles.close[i]),
            rng,
        )
