"""The profile of the week is found from the past, and is flat where there is nothing to learn from."""

from __future__ import annotations

import numpy as np
import pytest

from coincast_modelkit.hourly.profile import (
    HOURS_A_WEEK,
    ProfileCells,
    WeekProfile,
    hour_of_week,
    panel_profiles,
    profile_cells,
)
from coincast_modelkit.hourly.volatility import hourly_variance
from tests.unit.modelkit.hourly.hourly_market import FIRST, invented, pattern


def test_monday_midnight_is_hour_zero() -> None:
    assert hour_of_week(np.array(["2024-03-04T00", "2024-03-03T23"], dtype="datetime64[h]")).tolist() == [
        0,
        167,
    ]


def test_profile_recovers_the_pattern() -> None:
    coin = invented(days=700)
    panel, own = panel_profiles({"bitcoin": profile_cells(coin.starts, hourly_variance(coin))})
    truth = pattern(FIRST + np.arange(HOURS_A_WEEK))
    truth = truth / truth.mean()
    for found in (panel, own["bitcoin"]):
        assert np.corrcoef(found.factors, truth)[0, 1] > 0.9
        assert found.factors.mean() == pytest.approx(1.0)


def test_young_coin_takes_the_panel_profile() -> None:
    deviations = np.sin(np.arange(168.0))
    old = ProfileCells(deviations, np.full(168, 500.0))
    young = ProfileCells(-5 * deviations, np.ones(168))
    panel, own = panel_profiles({"old": old, "young": young})
    moved = np.ptp(np.log(own["young"].factors / panel.factors))
    assert 0 < moved < 0.1 * np.ptp(young.deviations - old.deviations)


def test_no_coin_gives_a_flat_profile() -> None:
    assert np.all(panel_profiles({})[0].factors == 1.0)


@pytest.mark.parametrize("horizon", [1, 5, 24, 48, 168, 400])
def test_ahead_is_the_mean_of_the_coming_hours(horizon: int) -> None:
    profile = WeekProfile(np.random.default_rng(1).random(168) + 0.5)
    moments = FIRST + np.array([0, 30, 167])
    expected = [profile.at(m + np.arange(horizon)).mean() for m in moments]
    assert profile.ahead(moments, horizon) == pytest.approx(expected)
