"""Compare the simulation of joint scenarios with the bare array work, and measure the largest request.

`python bench/scenarios_speed.py`.

Everything runs on one thread, and simulation and bare work alternate, so that a busy machine slows both
alike. The figures are processor time.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import datetime as dt
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
from scipy.special import ndtri

from coincast_modelkit.forecasts import PROBABILITIES, Forecasts
from coincast_modelkit.scenarios import (
    MAX_DAYS,
    WINDOW_ORIGINS,
    ScenarioLibrary,
    ScenarioWindow,
    assess_portfolio,
    simulate_paths,
    touch_probabilities,
)

COINS, DAYS = 10, 7
MOST_COINS = 250
ROUNDS = 21
LIMIT_MILLISECONDS = 20.0
LIMIT_RATIO = 3.0
# Paths of 250 coins over 14 days are 84 MB in double precision; the library's ranks and excursions 42 MB.
LIMIT_MEGABYTES = 400.0
ANCHORS = (1, 3, 7, 14)


def make_inputs(coins: int) -> tuple[ScenarioLibrary, Forecasts]:
    """Return artificial inputs of correlated coins.

    Returns:
        A library with WINDOW_ORIGINS origins, and the forecasts of all coins from its last day.
    """
    rng = np.random.default_rng(1)
    length = WINDOW_ORIGINS + MAX_DAYS
    common = rng.standard_t(5, (length, 1))
    returns = (0.02 * common + 0.02 * rng.standard_normal((length, coins))).astype(np.float32)
    wicks = (0.01 * rng.random((2, length, coins))).astype(np.float32)
    scales = np.full((length, coins, len(ANCHORS)), 0.03, dtype=np.float32) * np.sqrt(
        ANCHORS, dtype=np.float32
    )
    names = tuple(f"coin-{i}" for i in range(coins))
    days = np.datetime64("2025-08-31", "D") - np.arange(length)[::-1]
    library = ScenarioLibrary(names, days, returns, wicks[0], wicks[1], ANCHORS, scales)
    horizons = tuple(range(1, MAX_DAYS + 1))
    quantiles = (
        0.03 * np.sqrt(np.array(horizons))[None, :, None] * ndtri(PROBABILITIES) * np.ones((coins, 1, 1))
    )
    plain = np.full((coins, MAX_DAYS), 0.03)
    today = dt.date(2025, 8, 31)
    return library, Forecasts(
        names,
        (today,) * coins,
        np.full(coins, 100.0),
        horizons,
        PROBABILITIES,
        quantiles,
        plain,
        plain,
        plain,
    )


def bare_work(window: ScenarioWindow, forecasts: Forecasts, days: int) -> Callable[[], object]:
    """Return the array work of a simulation alone, with everything else prepared.

    The work interpolates the quantiles, gathers the closes by rank, and computes the extremes of each day.
    """
    columns = window.columns(forecasts.coin_ids)
    known = ndtri(PROBABILITIES)
    at = ndtri((np.arange(len(window)) + 0.5) / len(window))
    left = np.clip(np.searchsorted(known, at, side="right") - 1, 0, len(known) - 2)
    share = (at - known[left]) / (known[left + 1] - known[left])
    quantiles, ranks = forecasts.log_return_quantiles[:, :days], columns.ranks[:, :days]
    highs, lows, step = columns.highs[:, :days], columns.lows[:, :days], 0.03

    def work() -> object:
        lower, upper = quantiles[..., left], quantiles[..., left + 1]
        closes = np.take_along_axis(lower + share * (upper - lower), ranks, axis=2)
        before = np.concatenate([np.zeros((len(closes), 1, closes.shape[2])), closes[:, :-1]], axis=1)
        return np.maximum(before, closes) + step * highs, np.minimum(before, closes) - step * lows

    return work


def time_in_turn(first: Callable[[], object], second: Callable[[], object]) -> tuple[float, float]:
    """Return the median processor milliseconds of two calls, measured in alternation."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for found, call in zip(seconds, (first, second), strict=True):
            began = time.process_time()
            call()
            found.append(time.process_time() - began)
    return 1000 * statistics.median(seconds[0]), 1000 * statistics.median(seconds[1])


def main() -> int:
    """Print the figures and return the exit code: 1 if one exceeds its limit."""
    library, forecasts = make_inputs(COINS)
    window = library.window(library.days[-1])
    window.columns(forecasts.coin_ids)
    mine, bare = time_in_turn(
        lambda: simulate_paths(window, forecasts, DAYS), bare_work(window, forecasts, DAYS)
    )
    print(
        f"{len(window)} paths x {COINS} coins x {DAYS} days: {mine:.1f} ms (limit {LIMIT_MILLISECONDS:g}), "
        f"{mine / bare:.2f} times the bare array work (limit {LIMIT_RATIO:g})"
    )
    paths = simulate_paths(window, forecasts, MAX_DAYS)
    holdings = dict.fromkeys(forecasts.coin_ids, 100.0)
    risk, touch = time_in_turn(
        lambda: assess_portfolio(paths, holdings, DAYS), lambda: touch_probabilities(paths, "coin-0", 0.05)
    )
    print(
        f"portfolio of {COINS} coins at four levels: {risk:.2f} ms; "
        f"a touch level over {MAX_DAYS} days: {touch:.2f} ms"
    )
    megabytes, megabytes_stored = measure_largest_request()
    print(
        f"{MOST_COINS} coins x {MAX_DAYS} days: {megabytes:.0f} MB at most (limit {LIMIT_MEGABYTES:g}); "
        f"their library takes {megabytes_stored:.1f} MB on disk"
    )
    over = mine > LIMIT_MILLISECONDS or mine / bare > LIMIT_RATIO or megabytes > LIMIT_MEGABYTES
    return int(over)


def measure_largest_request() -> tuple[float, float]:
    """Read a library, and simulate MOST_COINS coins over MAX_DAYS days.

    Returns:
        The peak of memory and the size of the library on disk, both in megabytes.
    """
    library, forecasts = make_inputs(MOST_COINS)
    content = library.to_bytes()
    del library
    tracemalloc.start()
    again = ScenarioLibrary.from_bytes(content)
    simulate_paths(again.window(again.days[-1]), forecasts, MAX_DAYS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6, len(content) / 1e6


if __name__ == "__main__":
    sys.exit(main())
