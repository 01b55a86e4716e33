"""A month replayed day by day over REST: each answer is what the days up to then give, and nothing later."""

from __future__ import annotations

import datetime as dt
import time
from typing import Any

import numpy as np
import pytest

from coincast_modelkit.candles import FIELDS, Candles
from coincast_modelkit.features import Market
from coincast_modelkit.model_input import prepare
from coincast_modelkit.models import TechnicalModel
from tests.e2e.conftest import Get

# The first test waits for the whole system to start.
pytestmark = pytest.mark.timeout(480)
COIN, DAYS, HORIZON = "bitcoin", 800, 7
# The training service takes served forecasts into its log every few seconds.
LOGGED_SECONDS = 90.0


@pytest.fixture(scope="module")
def history(get: Get) -> Candles:
    """Return the coin's history as it stands now."""
    rows = get(f"/coins/{COIN}/history?days={DAYS}").json()["candles"]
    dates = np.array([row["date"] for row in rows], dtype="datetime64[D]")
    columns = {name: np.array([row[name] or np.nan for row in rows], dtype=np.float64) for name in FIELDS}
    return Candles.of(COIN, dates, **columns)


def until(candles: Candles, day: dt.date) -> Candles:
    keep = candles.dates <= np.datetime64(day, "D")
    return Candles.of(COIN, candles.dates[keep], **{name: getattr(candles, name)[keep] for name in FIELDS})


def expected(candles: Candles) -> tuple[list[float], list[tuple[float, float]]]:
    """Return medians and 80 % intervals of the technical model, day by day."""
    model = TechnicalModel()
    made = model.predict([prepare(candles, Market.of({}), model.spec)], range(1, HORIZON + 1))
    lower, upper = made.interval_prices(80)
    return made.median_prices()[0].tolist(), list(zip(lower[0].tolist(), upper[0].tolist(), strict=True))


def days_of_a_month(history: Candles) -> list[dt.date]:
    return [history.as_of - dt.timedelta(days=n) for n in range(30, 0, -1)]


def reply(get: Get, query: str) -> dict[str, Any]:
    answered = get(f"/forecasts?ids={COIN}&days={HORIZON}&{query}")
    assert answered.status_code == 200, answered.text
    (forecast,) = answered.json()["forecasts"]
    return dict(forecast)


def test_forecast_of_each_day_of_a_month_rests_on_the_days_up_to_then(get: Get, history: Candles) -> None:
    for day in days_of_a_month(history):
        found = reply(get, f"model=technical&as_of={day}")
        assert found["as_of"] == f"{day + dt.timedelta(days=1)}T00:00:00Z"
        medians, intervals = expected(until(history, day))
        assert found["reconstructed"]
        assert [point["price"] for point in found["points"]] == pytest.approx(medians, rel=1e-6)
        bounds = [tuple(point["intervals"]["80"].values()) for point in found["points"]]
        assert bounds == [pytest.approx(pair, rel=1e-6) for pair in intervals]


def test_no_version_that_learnt_from_later_days_answers(get: Get, history: Candles) -> None:
    for day in days_of_a_month(history)[::10]:
        found = reply(get, f"model=lightgbm&as_of={day}")
        assert (found["served_by"], found["version"]) == ("technical", "")
        assert f"trained only on days up to {day}" in found["reason"]


def test_forecast_that_was_served_is_given_again(get: Get, history: Candles) -> None:
    served = reply(get, "model=technical")
    until_logged = time.monotonic() + LOGGED_SECONDS
    while time.monotonic() < until_logged:
        again = reply(get, f"model=technical&as_of={history.as_of}")
        if not again["reconstructed"]:
            break
        time.sleep(1.0)
    assert not again["reconstructed"], "the log did not hold the forecast in time"
    assert again["forecast_id"] == served["forecast_id"]
    prices = [[point["price"] for point in each["points"]] for each in (again, served)]
    assert prices[0] == pytest.approx(prices[1], rel=1e-9)


def test_history_of_each_day_ends_with_it(get: Get, history: Candles) -> None:
    for day in days_of_a_month(history):
        # A day counts once its last point has settled, minutes after its close.
        moment = f"{day + dt.timedelta(days=1)}T01:00:00Z"
        rows = get(f"/coins/{COIN}/history?days=5&as_of={moment}").json()["candles"]
        closes = until(history, day).close[-5:].tolist()
        assert rows[-1]["date"] == day.isoformat()
        assert [row["close"] for row in rows] == pytest.approx(closes, rel=1e-9)


def test_hours_of_each_hour_of_a_day_end_with_it(get: Get, history: Candles) -> None:
    rows = get(f"/coins/{COIN}/history?days=4&interval=1h").json()["candles"]
    closes = {row["time"]: row["close"] for row in rows}
    midnight = dt.datetime.combine(history.as_of, dt.time(), dt.UTC)
    for hour in range(24):
        ends = midnight + dt.timedelta(hours=hour)
        # An hour counts once its last point has settled, minutes after its end.
        moment = f"{ends + dt.timedelta(minutes=10):%Y-%m-%dT%H:%M:%SZ}"
        found = get(f"/coins/{COIN}/history?days=1&interval=1h&as_of={moment}").json()
        assert found["candles"][-1]["time"] == f"{ends - dt.timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
        assert len(found["candles"]) == 24
        assert all(row["close"] == closes[row["time"]] for row in found["candles"])
        assert "known 5 minutes after its end" in found["quality_notes"][0]
        forecast = reply(get, f"model=technical&as_of={moment}")
        assert forecast["reconstructed"]
        assert forecast["as_of"] <= moment
        if hour:
            assert "no version of intraday was trained only on days" in forecast["as_of_reason"]
        answered = get(f"/forecasts?ids={COIN}&hours=3&as_of={moment}")
        (hourly,) = answered.json()["forecasts"]
        assert hourly["reconstructed"]
        assert [point["horizon_hours"] for point in hourly["points"]] == [1, 2, 3]


def test_moment_to_come_is_refused_by_name(get: Get) -> None:
    for query in ("?days=1", "?hours=1", "/touch?level=5%25", "/scenarios?paths=1"):
        refused = get(f"/forecasts{query}&ids={COIN}&as_of=2999-01-01T10:00:00Z")
        assert refused.status_code == 400, refused.text
        assert refused.json()["field"] == "as_of"


def touch(get: Get, query: str) -> dict[str, Any]:
    answered = get(f"/forecasts/touch?ids={COIN}&level=5%25&days={HORIZON}&model=technical&{query}")
    assert answered.status_code == 200, answered.text
    return dict(answered.json())


def test_touch_of_a_past_day_starts_from_its_close(get: Get, history: Candles) -> None:
    now = touch(get, "")
    for day in days_of_a_month(history)[::10]:
        found = touch(get, f"as_of={day}")
        (coin,) = found["coins"]
        assert found["basis"]["reconstructed"] and not found["basis"]["recorded"]
        assert found["basis"]["as_of"] == f"{day + dt.timedelta(days=1)}T00:00:00Z"
        assert found["basis"]["last_origin_date"] <= (day - dt.timedelta(days=14)).isoformat()
        assert coin["last_price"] == pytest.approx(until(history, day).close[-1], rel=1e-9)
        assert coin["levels"][0]["days"][0]["date"] == (day + dt.timedelta(days=1)).isoformat()
    assert not now["basis"]["reconstructed"]
