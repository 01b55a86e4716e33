"""Joint scenarios during the day: from the newest hour that all coins have, and logged as of the close."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from coincast_chassis.clock import SystemClock
from coincast_forecast.grpc.scenario_mapping import portfolio_message, touch_message
from coincast_forecast.scenarios.recorder import RiskRecorder
from coincast_forecast.scenarios.service import Holding, ScenarioService, TouchLevel
from coincast_modelkit.scenarios.statements import LossStatement, RiskStatement, TouchStatement
from tests.unit.forecast.forecast_kit import Kit, NoPast, make_kit
from tests.unit.forecast.hourly.test_within_day import PRICE, kit_at

HOURS = 13


def service(kit: Kit) -> ScenarioService:
    return ScenarioService(kit.forecasting, NoPast(), cache_bytes=2**26, limit_seconds=60)


class Statements:
    """A log in memory."""

    def __init__(self) -> None:
        self.all: list[RiskStatement] = []

    async def append(self, entries: Sequence[RiskStatement]) -> bool:
        """Take the entries."""
        self.all += entries
        return True


async def test_scenarios_start_from_the_newest_hour(tmp_path: Path) -> None:
    kit, _, _ = await kit_at(tmp_path, HOURS)
    close = await service(make_kit()).simulate(["bitcoin"], model="ml_ensemble")
    now = await service(kit).simulate(["bitcoin"], model="ml_ensemble")
    forecast = (await kit.one(model="ml_ensemble", days=14)).forecast
    assert (now.basis.start_hours, now.basis.start_reason, now.basis.day) == (HOURS, "", close.basis.day)
    assert now.paths.last_price[0] == pytest.approx(forecast.last_price)
    assert now.paths.last_price[0] != pytest.approx(close.paths.last_price[0])
    # At every horizon the paths are distributed as the forecast from the hour.
    (level,) = (column for column in forecast.curve.intervals if column.level_percent == 80.0)
    prices = now.paths.last_price[0] * np.exp(now.paths.closes[0])
    assert np.quantile(prices, 0.1, axis=1) == pytest.approx(np.array(level.lower[:14]), rel=2e-3)
    assert np.quantile(prices, 0.9, axis=1) == pytest.approx(np.array(level.upper[:14]), rel=2e-3)
    # What is left of the day is shorter than a day.
    widths = [np.ptp(np.quantile(one.paths.closes[0, 0], [0.1, 0.9])) for one in (now, close)]
    assert widths[0] < 0.9 * widths[1]
    assert now.at_close is not None
    np.testing.assert_array_equal(now.at_close.paths.closes, close.paths.closes)


@pytest.mark.parametrize(
    ("ids", "hours", "reason"),
    [
        # Only bitcoin has hours: paths of both start from the close that both have.
        (["bitcoin", "dogecoin"], HOURS, "no hourly candles are stored"),
        (["bitcoin"], None, "no hourly candles are stored"),
        (["bitcoin"], 0, ""),
    ],
)
async def test_scenarios_start_from_the_close_and_say_why(
    tmp_path: Path, ids: list[str], hours: int | None, reason: str
) -> None:
    kit, _, _ = await kit_at(tmp_path, hours)
    found = await service(kit).simulate(ids, model="ml_ensemble")
    assert (found.basis.start_hours, found.at_close) == (0, None)
    assert found.basis.start_reason.startswith(reason)
    assert bool(found.basis.start_reason) == bool(reason)
    assert found.basis.reason == (await service(make_kit()).simulate(ids, model="ml_ensemble")).basis.reason


async def test_answers_count_from_the_hour_and_are_logged_as_of_the_close(tmp_path: Path) -> None:
    kit, _, _ = await kit_at(tmp_path, HOURS)
    scenarios = service(kit)
    clock = SystemClock()
    touch = await scenarios.touch(["bitcoin"], [TouchLevel(percent=5.0)], model="ml_ensemble")
    loss = await scenarios.assess(
        [Holding("bitcoin", amount=2.0)], days=3, levels_percent=[95.0], model="ml_ensemble"
    )
    touched = touch_message(touch, days=3, clock=clock)
    lost = portfolio_message(loss, vs_currency="usd", clock=clock)
    close = dt.datetime.combine(touch.simulation.basis.day, dt.time(), dt.UTC) + dt.timedelta(days=1)
    start = close + dt.timedelta(hours=HOURS)
    price = float(touch.simulation.paths.last_price[0])
    assert touched.basis.as_of.ToDatetime(dt.UTC) == lost.basis.as_of.ToDatetime(dt.UTC) == start
    assert touched.coins[0].last_price == price
    assert touched.coins[0].levels[0].price == pytest.approx(1.05 * price)
    assert touched.coins[0].levels[0].days[0].date == start.date().isoformat()
    assert lost.value == pytest.approx(2 * price)
    assert lost.holdings[0].price_as_of.ToDatetime(dt.UTC) == start

    log = Statements()
    recorder = RiskRecorder(log)
    assert await recorder.record_touch(touch, vs_currency="usd", days=3)
    assert await recorder.record_losses(loss, vs_currency="usd")
    stated, losses = log.all
    assert isinstance(stated, TouchStatement)
    assert isinstance(losses, LossStatement)
    day = touch.simulation.basis.day.isoformat()
    assert (stated.as_of, losses.as_of) == (day, day)
    assert stated.last_price == pytest.approx(PRICE)
    assert stated.level == pytest.approx(1.05 * price)
    assert losses.last_prices["bitcoin"] == pytest.approx(PRICE)
    assert touch.at_close is not None
    chances = touch.at_close.coins["bitcoin"][1][0].probabilities
    assert stated.touch == pytest.approx(chances.touch[:3].tolist())
