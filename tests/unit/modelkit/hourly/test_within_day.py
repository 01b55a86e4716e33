"""A daily forecast moved to an hour of the day: equal at the close, without a jump at the next one."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from scipy.special import ndtri

from coincast_modelkit.candles import Floats
from coincast_modelkit.forecasts import PROBABILITIES, Forecasts
from coincast_modelkit.hourly.within_day import (
    HourlyOutlook,
    WidthsDisagreeError,
    hours_needed,
    within_day,
)

DAYS = tuple(range(1, 31))
# Fatter than a Gaussian, so that shapes differ.
FAT = ndtri(PROBABILITIES) * (1 + 0.05 * ndtri(PROBABILITIES) ** 2)


def forecasts(horizons: tuple[int, ...], widths: Floats, shape: Floats, price: float = 100.0) -> Forecasts:
    """Return one coin's forecast with a shape scaled by widths."""
    ones = np.ones((1, len(horizons)))
    return Forecasts(
        coin_ids=("bitcoin",),
        as_of=(dt.date(2025, 8, 30),),
        last_price=np.array([price]),
        horizons=horizons,
        probabilities=PROBABILITIES,
        log_return_quantiles=(widths[:, None] * shape)[None],
        volatility=0.03 * ones,
        trailing_volatility=0.03 * ones,
        rise_of_volatility=0.5 * ones,
    )


def daily(level: float = 0.03) -> Forecasts:
    """Return a daily forecast of a walk."""
    return forecasts(DAYS, level * np.sqrt(np.array(DAYS, dtype=float)), FAT)


def outlook(hours: int, *, at_close: float = 0.03, now: float = 0.03, price: float = 101.0) -> HourlyOutlook:
    """Return the outlook of an hourly model with a level (of 24 hours) at the close and now."""
    left, day = hours_needed(hours)
    shape = ndtri(PROBABILITIES)
    return HourlyOutlook(
        at_close=forecasts((24,), np.array([at_close]), shape),
        now=forecasts((left, day), now * np.sqrt(np.array([left, day]) / 24), shape, price),
        hours=hours,
        volatility_error=0.3,
    )


def widths(made: Forecasts) -> Floats:
    """Return the width of the 80 % interval at each horizon."""
    low, high = made.quantile_log_returns([0.1, 0.9])[0].T
    return np.asarray(high - low)


def test_at_the_close_itself_the_forecasts_are_equal() -> None:
    """With no hour passed, whatever the hourly model says of the level, nothing is moved."""
    for level in (0.015, 0.03, 0.06):
        found = within_day(daily(), outlook(0, at_close=level, now=level, price=100.0))
        assert found.log_return_quantiles == pytest.approx(daily().log_return_quantiles, abs=1e-12)
        assert found.volatility == pytest.approx(daily().volatility)
        assert found.rise_of_volatility == pytest.approx(daily().rise_of_volatility)


@pytest.mark.parametrize("news", [0.7, 1.0, 1.4])
@pytest.mark.parametrize("disagreement", [0.6, 1.0, 1.7])
def test_the_width_changes_continuously_from_close_to_close(news: float, disagreement: float) -> None:
    """Over 24 hours the level moves to `news` times the old one, and the daily model follows it as fitted."""
    at_close = 0.03 * disagreement
    path = [widths(daily())]
    for hours in range(1, 24):
        now = at_close * news ** (hours / 24)
        path.append(widths(within_day(daily(), outlook(hours, at_close=at_close, now=now))))
    followed = np.array(DAYS[:-1], dtype=float) ** -0.75 * 0.8 * np.log(news)
    next_close = widths(daily())[:-1] * np.exp(followed)
    # The horizon d + 1 of this close is the horizon d of the next.
    beyond = np.array([w[1:] for w in path] + [next_close])
    steps = np.abs(np.diff(np.log(beyond), axis=0))
    # In an hour a day's width shrinks by 2 %; the share of an hour in the news and in the disagreement of the
    # two models, which ends with the day, add up to 4 %.
    assert steps.max() < 0.07
    across = steps[-1]
    assert across.max() < 1.5 * steps[:-1].max()
    first = np.array([w[0] for w in path])
    assert np.all(np.diff(first[-6:]) < 0)
    assert first[-1] == pytest.approx(2 * 1.2816 * at_close * news / np.sqrt(24), rel=0.05)


def test_news_of_the_day_widen_this_day_most_and_fade_with_the_horizon() -> None:
    quiet = widths(within_day(daily(), outlook(18)))
    loud = widths(within_day(daily(), outlook(18, now=0.06)))
    ratio = loud / quiet
    assert ratio[0] == pytest.approx(2.0, rel=0.02)
    assert np.all(np.diff(ratio) < 0)
    assert 1.0 < ratio[-1] < 1.1
    still = widths(within_day(daily(), outlook(18, now=0.06), reaction=0.0)) / quiet
    assert still[0] == pytest.approx(ratio[0])
    assert still[6] < ratio[6]
    moved = within_day(daily(), outlook(18, now=0.06))
    assert np.all(moved.rise_of_volatility[0] > 0.5)
    assert moved.volatility[0, 0] > 1.5 * daily().volatility[0, 0]


@pytest.mark.parametrize("hours", [1, 6, 12, 18, 23])
def test_the_distribution_is_whole_and_starts_at_the_newest_price(hours: int) -> None:
    made = within_day(daily(), outlook(hours, now=0.05))
    assert made.last_price[0] == 101.0
    assert made.horizons == DAYS
    assert np.all(np.diff(made.log_return_quantiles, axis=-1) >= 0)
    assert np.all(np.diff(widths(made)) > 0)


@pytest.mark.parametrize("level", [0.009, 0.1])
def test_forecasts_that_contradict_each_other_are_not_joined(level: float) -> None:
    with pytest.raises(WidthsDisagreeError, match="times as wide"):
        within_day(daily(), outlook(6, at_close=level, now=level))


def test_a_forecast_of_several_coins_or_without_its_first_day_is_refused() -> None:
    late = forecasts((2, 3), np.array([0.04, 0.05]), FAT)
    with pytest.raises(ValueError, match="one coin"):
        within_day(late, outlook(6))
