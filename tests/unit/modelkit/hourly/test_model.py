"""The hourly model: symmetric, continuous in the horizon, correct with gaps, equal after a round trip."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path

import numpy as np
import pytest

from coincast_modelkit.hourly.candles import CLOSES, RANGES, HourlyCandles, source_of
from coincast_modelkit.hourly.features import TERMS
from coincast_modelkit.hourly.line import Moments
from coincast_modelkit.hourly.model import (
    IntradayModel,
)
from tests.unit.modelkit.hourly.hourly_market import FIRST, PROFILE, day_model, invented

COINS = [invented("bitcoin", 120, seed=1), invented("ethereum", 120, seed=2)]
PANEL = {c.coin_id: c for c in COINS}


def test_every_hour_to_two_days_is_served_and_widens() -> None:
    found = day_model().predict(COINS, range(1, 49), reference=PANEL)
    assert found.usable().all()
    assert found.horizons == tuple(range(1, 49))
    assert found.as_of[0] == dt.datetime(2021, 5, 4, tzinfo=dt.UTC)
    lower, upper = found.interval_prices(80)
    assert np.all(np.diff(upper, axis=1) > 0)
    assert np.all(np.diff(lower, axis=1) < 0)
    assert found.median_prices() == pytest.approx(found.last_price[:, None] * np.ones(48))
    assert found.probability_of_rise() == pytest.approx(0.5)


def test_quiet_hours_ahead_give_a_narrower_interval() -> None:
    coin = COINS[0]
    night, noon = (coin.until(FIRST + np.timedelta64(24 * 100 + hour, "h")) for hour in (0, 13))
    forecasts = [day_model().predict([c], [1]) for c in (night, noon)]
    scales = [
        f.volatility[0, 0]
        / np.exp(day_model().row(c, day_model().market({}, c.closes_at))[0][TERMS.index("volatility_24h")])
        for f, c in zip(forecasts, (night, noon), strict=True)
    ]
    truth = np.sqrt(PROFILE.at(np.array([noon.closes_at]))[0] / PROFILE.at(np.array([night.closes_at]))[0])
    assert scales[1] / scales[0] == pytest.approx(truth)


def test_hours_after_the_origin_change_nothing() -> None:
    moment = FIRST + np.timedelta64(24 * 90 + 7, "h")
    cut = {k: c.until(moment) for k, c in PANEL.items()}
    served = day_model().predict(list(cut.values()), [1, 24], reference=PANEL)
    honest = day_model().predict(list(cut.values()), [1, 24], reference=cut)
    assert np.array_equal(served.log_return_quantiles, honest.log_return_quantiles)


@pytest.mark.parametrize("hours", [[], [0], [49], [1, 100]])
def test_horizon_out_of_range_is_refused(hours: list[int]) -> None:
    with pytest.raises(ValueError, match="hours must be 1 to 48"):
        day_model().predict(COINS, hours)


def test_coin_without_a_known_day_gives_nan_and_breaks_no_other() -> None:
    young = HourlyCandles.of("young", FIRST + np.arange(10), np.full(10, 3.0))
    none = HourlyCandles.of("none", np.empty(0, dtype="datetime64[h]"), [])
    found = day_model().predict([young, COINS[0], none], [1], reference=PANEL)
    assert found.usable().tolist() == [False, True, False]


def test_closes_alone_are_read_by_the_line_of_closes() -> None:
    bare = invented("bitcoin", 120, ranges=False)
    assert source_of(bare) == CLOSES
    assert source_of(COINS[0]) == RANGES
    assert day_model().predict([bare], [6], reference={"bitcoin": bare}).usable().all()


def test_stale_reference_coin_does_not_speak_for_the_market() -> None:
    old = {"ethereum": PANEL["ethereum"].until(FIRST + np.timedelta64(24 * 60, "h"))}
    market = day_model().market(old, COINS[0].closes_at)
    assert np.isnan(market.market).all()


def test_round_trip_gives_the_same_forecasts(tmp_path: Path) -> None:
    before = day_model()
    before.save(tmp_path)
    after = IntradayModel.load(tmp_path, version="v1")
    ask = [1, 5, 24, 48]
    assert np.array_equal(
        before.predict(COINS, ask, reference=PANEL).log_return_quantiles,
        after.predict(COINS, ask, reference=PANEL).log_return_quantiles,
    )
    assert after.version == "v1"


def test_line_recovers_slopes_added_in_parts() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(4000, 3)) + 7
    target = rows @ [0.5, -0.2, 0.0] + 1 + 0.1 * rng.normal(size=4000)
    target[::50] = np.nan
    moments = Moments(3)
    for part in (slice(0, 1000), slice(1000, 4000)):
        moments.add(rows[part], target[part])
    slopes, intercept, error = moments.solve(1.0)
    assert slopes == pytest.approx([0.5, -0.2, 0.0], abs=0.02)
    assert intercept == pytest.approx(1.0, abs=0.2)
    assert error == pytest.approx(0.1, abs=0.01)


def test_features_of_the_newest_hour_take_less_than_two_milliseconds() -> None:
    coin, ready = invented("bitcoin", 400), day_model()
    market = ready.market(PANEL, coin.closes_at)
    ready.row(coin, market)
    taken = []
    for _ in range(30):
        began = time.thread_time()
        ready.row(coin, market)
        taken.append(time.thread_time() - began)
    assert min(taken) < 0.002
