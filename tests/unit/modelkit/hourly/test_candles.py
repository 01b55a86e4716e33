"""Hourly candles: gaps are explicit, fill-ins are gaps, and the day's border is the close of 23:00."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from coincast_modelkit.hourly.candles import HourlyCandles
from coincast_modelkit.hourly.volatility import FLOOR_HOURLY_VARIANCE, hourly_returns, hourly_variance

START = np.datetime64("2024-03-01T00", "h")


def test_missing_hour_is_a_row_of_nan_and_its_return_counts_once() -> None:
    starts = START + np.array([0, 1, 3])
    candles = HourlyCandles.of("bitcoin", starts, [100.0, 101.0, 104.0])
    assert len(candles) == 4
    assert candles.known.tolist() == [True, True, False, True]
    returns = hourly_returns(candles)
    assert np.isnan(returns[[0, 2]]).all()
    assert returns[3] == pytest.approx(np.log(104 / 101))


def test_flat_hour_without_volume_is_missing_but_a_traded_flat_hour_is_not() -> None:
    prices = np.array([100.0, 100.0, 100.0, 101.0])
    candles = HourlyCandles.of(
        "bitcoin",
        START + np.arange(4),
        prices,
        open=prices,
        high=prices,
        low=prices,
        volume=[5.0, 0.0, 5.0, 5.0],
    )
    assert candles.known.tolist() == [True, False, True, True]
    assert hourly_variance(candles)[2] == FLOOR_HOURLY_VARIANCE


@pytest.mark.parametrize(
    ("starts", "close", "named"),
    [
        ([START, START], [1.0, 2.0], "increase"),
        ([START + np.timedelta64(1, "h"), START], [1.0, 2.0], "increase"),
        ([np.datetime64("2024-03-01T00:30", "s")], [1.0], "full UTC hour"),
        ([START], [-1.0], "above zero"),
        ([START], [1.0, 2.0], "close has 2 rows"),
    ],
)
def test_bad_rows_are_refused_by_name(starts: list[np.datetime64], close: list[float], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        HourlyCandles.of("bitcoin", np.array(starts, dtype="datetime64[s]"), close)


def test_until_keeps_the_hours_that_had_closed() -> None:
    candles = HourlyCandles.of("bitcoin", START + np.arange(48), np.arange(1.0, 49.0))
    assert candles.until(dt.datetime(2024, 3, 1, 6, 59, tzinfo=dt.UTC)).last_price == 6.0
    assert candles.until(dt.datetime(2024, 3, 1, 7, tzinfo=dt.UTC)).last_price == 7.0
    assert len(candles.until(START)) == 0
    assert candles.until(START + np.timedelta64(500, "h")).closes_at == START + np.timedelta64(48, "h")


def test_day_closes_with_its_hour_of_23() -> None:
    close = np.arange(1.0, 73.0)
    candles = HourlyCandles.of(
        "bitcoin",
        START + np.timedelta64(5, "h") + np.arange(72),
        close,
        open=close,
        high=close + 1,
        low=close - 0.5,
        volume=np.ones(72),
    )
    days = candles.daily()
    assert [str(d) for d in days.dates] == ["2024-03-02", "2024-03-03"]
    # The first row is 05:00 of the first day, so 23:00 of the second day is row 42.
    assert days.close.tolist() == [43.0, 67.0]
    assert days.open[0] == 20.0
    assert days.high[0] == 44.0
    assert days.low[0] == 19.5
    assert days.volume[0] == 24.0


def test_thin_day_has_a_close_only() -> None:
    hours = np.array([h for h in range(72) if not 24 <= h < 29])
    close = np.arange(1.0, len(hours) + 1)
    candles = HourlyCandles.of(
        "bitcoin", START + hours, close, open=close, high=close, low=close, volume=np.ones(len(hours))
    )
    days = candles.daily()
    assert np.isnan(days.high[1])
    assert days.close[1] == close[hours == 47][0]
    assert np.isfinite(days.high[[0, 2]]).all()


def test_lone_wick_is_not_accepted() -> None:
    price = 100 * np.exp(0.001 * np.random.default_rng(3).normal(size=600).cumsum())
    high, low = price * 1.002, price * 0.998
    low = low.copy()
    low[500] = 1.0
    candles = HourlyCandles.of("bitcoin", START + np.arange(600), price, open=price, high=high, low=low)
    variance = hourly_variance(candles)
    assert variance[500] < 120 * np.median(variance)
    assert variance[500] > 10 * np.median(variance)
