"""The scenario library of a version: scales as they were forecast at their time."""

from __future__ import annotations

import numpy as np
import pytest

from coincast_modelkit.candles import Candles
from coincast_modelkit.forecasts import PROBABILITIES
from coincast_training.pipeline.scenarios import scenario_library
from coincast_training.trainers.base import WalkForward

DAYS = 400
FIRST = np.datetime64("2023-01-01")
HORIZONS = (1, 7, 14)


def candles(coin: str, seed: int) -> Candles:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.03, DAYS)))
    return Candles.of(
        coin, FIRST + np.arange(DAYS).astype("timedelta64[D]"), close, high=close * 1.02, low=close * 0.98
    )


def walk_forward(coins: dict[str, int], horizons: tuple[int, ...] = HORIZONS) -> WalkForward:
    """Gaussian forecasts of every coin, origin and horizon; the scale tells the coin and the day."""
    rows = [(coin, day, h) for coin in coins for day in range(50, DAYS) for h in horizons]
    scale = np.array([0.01 * coins[coin] + 1e-5 * day for coin, day, _ in rows])
    normal = np.linspace(-3.3, 3.3, len(PROBABILITIES))
    horizon = np.array([h for *_, h in rows])
    return WalkForward(
        coin_ids=np.array([coin for coin, *_ in rows]),
        origins=FIRST + np.array([day for _, day, _ in rows]).astype("timedelta64[D]"),
        horizons=horizon,
        last_prices=np.full(len(rows), 100.0),
        probabilities=PROBABILITIES,
        log_return_quantiles=(scale * np.sqrt(horizon))[:, None] * normal,
        actual_log_returns=np.zeros(len(rows)),
    )


def test_scales_stand_at_their_own_coin_day_and_horizon() -> None:
    coins = {"bitcoin": 3, "ethereum": 4}
    panel = {coin: candles(coin, seed) for coin, seed in coins.items()}
    library = scenario_library(walk_forward(coins), panel)
    assert library is not None
    assert library.anchors == HORIZONS
    widths = library.scales
    for i, coin in enumerate(library.coin_ids):
        day = (library.days - FIRST).astype(int)
        expected = 0.01 * coins[coin] + 1e-5 * day
        known = np.isfinite(widths[:, i, 0])
        assert known.sum() > 200
        ratio = widths[known, i, 0] / expected[known]
        assert ratio == pytest.approx(np.full(known.sum(), ratio[0]), rel=1e-5)
        assert widths[known, i, 1] == pytest.approx(widths[known, i, 0] * np.sqrt(7), rel=1e-5)


def test_later_candles_change_no_earlier_move() -> None:
    coins = {"bitcoin": 3, "ethereum": 4}
    panel = {coin: candles(coin, seed) for coin, seed in coins.items()}
    whole = scenario_library(walk_forward(coins), panel)
    cut = scenario_library(walk_forward(coins), {c: candles.rows(0, 350) for c, candles in panel.items()})
    assert whole is not None
    assert cut is not None
    last = cut.moves.origins[-1]
    at, same = list(cut.moves.origins).index(last), list(whole.moves.origins).index(last)
    assert cut.moves.closes[at] == pytest.approx(whole.moves.closes[same])
    assert last == FIRST + np.timedelta64(349 - 14, "D")


@pytest.mark.parametrize("horizons", [(30,), (2, 5)])
def test_no_horizon_of_a_path_means_no_library(horizons: tuple[int, ...]) -> None:
    assert (
        scenario_library(walk_forward({"bitcoin": 3}, horizons), {"bitcoin": candles("bitcoin", 3)}) is None
    )


def test_too_few_days_mean_no_library() -> None:
    panel = {"bitcoin": candles("bitcoin", 3).rows(0, 120)}
    assert scenario_library(walk_forward({"bitcoin": 3}), panel) is None


def test_the_record_counts_what_came_of_out_of_sample_statements() -> None:
    coins = {"bitcoin": 3, "ethereum": 4}
    panel = {coin: candles(coin, seed) for coin, seed in coins.items()}
    library = scenario_library(walk_forward(coins), panel)
    assert library is not None
    record = library.record
    assert record is not None
    days = sorted({key.split(":")[0] for key in record.touches}, key=int)
    assert days == ["1", "3", "7", "14"]
    for horizon in days:
        count = sum(s.count for key, s in record.touches.items() if key.split(":")[0] == horizon)
        # Every seventh day on which at least a hundred origins had ended: ten levels of each coin.
        assert count == 32 * 10 * len(coins)
    # Days whose tail was too thin are refused, and are no statements.
    assert 0 < record.exceedances["1:95"].count <= 32
    for key, statements in record.touches.items():
        tenth = int(key.split(":")[1])
        assert 10 * tenth <= statements.promised_percent <= 10 * tenth + 10
        assert 0 <= statements.came_percent <= 100
    assert np.datetime64(record.last_day) <= FIRST + np.timedelta64(DAYS - 1 - 14, "D")


def test_outcomes_after_a_cut_change_no_statement_before_it() -> None:
    """Days after the last path are blanked: all counts and forecast shares stay."""
    coins = {"bitcoin": 3, "ethereum": 4}
    panel = {coin: candles(coin, seed) for coin, seed in coins.items()}
    wild = {
        coin: Candles.of(
            coin,
            c.dates,
            np.where(np.arange(DAYS) > 330, c.close * 3, c.close),
            high=np.where(np.arange(DAYS) > 330, c.high * 3, c.high),
            low=np.where(np.arange(DAYS) > 330, c.low * 3, c.low),
        )
        for coin, c in panel.items()
    }
    whole = scenario_library(walk_forward(coins), {c: p.rows(0, 331) for c, p in panel.items()})
    cut = scenario_library(walk_forward(coins), {c: p.rows(0, 331) for c, p in wild.items()})
    assert whole is not None
    assert cut is not None
    assert whole.record == cut.record
