"""Joint scenarios of past moments: nothing that became known later changes them, and they are not logged."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from coincast_chassis.clock import SystemClock
from coincast_chassis.errors import InvalidInput, NotFound
from coincast_forecast.domain import close_of
from coincast_forecast.grpc.scenario_mapping import portfolio_message, touch_message
from coincast_forecast.scenarios.service import Holding, ScenarioService, TouchAnswer, TouchLevel
from tests.unit.forecast.forecast_fakes import LAST_DAY
from tests.unit.forecast.forecast_kit import make_kit
from tests.unit.forecast.hourly.test_past import NEWEST, absurd_after
from tests.unit.forecast.hourly.test_past import Rig as HourlyRig
from tests.unit.forecast.hourly.test_past import rig as past_hours
from tests.unit.forecast.test_point_in_time import MONTH, Rig, blanked, rig

__all__ = ["past_hours", "rig"]
LEVELS = [TouchLevel(percent=5.0), TouchLevel(percent=-5.0)]


@contextmanager
def opened(rig: Rig) -> Iterator[ScenarioService]:
    """Yield a service whose past has the histories of the rig."""
    past = rig.service()
    service = ScenarioService(make_kit().forecasting, past, cache_bytes=2**26, limit_seconds=60)
    try:
        yield service
    finally:
        service.stop()
        past.stop()


async def touch(rig: Rig, day: dt.date, model: str = "technical") -> TouchAnswer:
    with opened(rig) as service:
        return await service.touch(["bitcoin", "dogecoin"], LEVELS, model=model, as_of=close_of(day))


def chances(answer: TouchAnswer) -> dict[str, list[list[float]]]:
    return {
        coin: [[level.price, *level.probabilities.touch.tolist()] for level in levels]
        for coin, (_, levels) in answer.coins.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("model", ["technical", "lightgbm", "auto"])
async def test_month_replayed_day_by_day_is_the_same_whatever_came_later(rig: Rig, model: str) -> None:
    rig.write(MONTH[-1] - dt.timedelta(days=5))
    whole = rig.source.coins
    for day in MONTH[::6]:
        rig.source.coins = whole
        as_it_went = await touch(rig, day, model)
        rig.source.coins = {coin: blanked(candles, day) for coin, candles in whole.items()}
        assert chances(await touch(rig, day, model)) == chances(as_it_went)
        basis = as_it_went.simulation.basis
        assert (basis.day, basis.start_hours, basis.reconstructed) == (day, 0, True)
        # Paths that had not ended by then were not known.
        assert basis.last_origin <= day - dt.timedelta(days=14)
        close = float(whole["bitcoin"].close[whole["bitcoin"].dates == np.datetime64(day)][0])
        assert as_it_went.coins["bitcoin"][0] == pytest.approx(close)
        message = touch_message(as_it_went, days=3, clock=SystemClock())
        assert message.basis.reconstructed
        assert message.basis.as_of.ToDatetime(dt.UTC) == close_of(day)
        first = message.coins[0].levels[0].days[0]
        assert first.date == (day + dt.timedelta(days=1)).isoformat()


async def test_losses_of_a_past_day_are_those_of_its_close(rig: Rig) -> None:
    day = MONTH[10]
    with opened(rig) as service:
        answer = await service.assess(
            [Holding("bitcoin", amount=2.0)],
            days=3,
            levels_percent=[95.0],
            model="technical",
            as_of=close_of(day),
        )
    message = portfolio_message(answer, vs_currency="usd", clock=SystemClock())
    coin = rig.source.coins["bitcoin"]
    assert message.value == pytest.approx(2 * float(coin.close[coin.dates == np.datetime64(day)][0]))
    assert message.basis.reconstructed


async def test_one_cache_serves_each_moment_its_own_paths(rig: Rig) -> None:
    with opened(rig) as service:
        found = {
            day: await service.simulate(["bitcoin"], model="technical", as_of=close_of(day))
            for day in MONTH[:3]
        }
        again = await service.simulate(["bitcoin"], model="technical", as_of=close_of(MONTH[1]))
        now = await service.simulate(["bitcoin"], model="technical")
    assert again.paths is found[MONTH[1]].paths
    assert len({float(one.paths.last_price[0]) for one in found.values()}) == 3
    assert not now.basis.reconstructed


async def test_a_day_to_come_is_refused(rig: Rig) -> None:
    with pytest.raises(InvalidInput) as caught:
        await touch(rig, LAST_DAY + dt.timedelta(days=1))
    assert caught.value.field == "as_of"


async def test_an_unknown_coin_is_named(rig: Rig) -> None:
    with opened(rig) as service, pytest.raises(NotFound):
        await service.touch(["nocoin"], LEVELS, as_of=close_of(MONTH[0]))


@pytest.mark.parametrize(
    ("ids", "hours_ago", "hours", "reason"),
    [
        (["bitcoin", "ethereum"], 30, 18, ""),
        (["bitcoin"], 30, 18, ""),
        (["bitcoin"], 24, 0, ""),
        # Paths of both coins start from the close that both have.
        (["bitcoin", "dogecoin"], 30, 0, "no hour of dogecoin had arrived by then"),
    ],
)
async def test_scenarios_of_a_past_hour_start_from_it(
    past_hours: HourlyRig, ids: list[str], hours_ago: int, hours: int, reason: str
) -> None:
    as_of = NEWEST - dt.timedelta(hours=hours_ago)
    whole = past_hours.archive.coins
    service = ScenarioService(make_kit().forecasting, past_hours.daily, cache_bytes=0, limit_seconds=60)
    found = []
    for coins in (whole, {coin: absurd_after(candles, as_of) for coin, candles in whole.items()}):
        past_hours.archive.coins = coins
        found.append(await service.touch(ids, LEVELS, model="technical", as_of=as_of))
    service.stop()
    assert chances(found[0]) == chances(found[1])
    basis = found[0].simulation.basis
    assert (basis.start_hours, basis.reconstructed) == (hours, True)
    assert basis.start_reason.startswith(reason) and bool(basis.start_reason) == bool(reason)
    message = touch_message(found[0], days=1, clock=SystemClock())
    assert message.basis.as_of.ToDatetime(dt.UTC) == (as_of if hours else as_of.replace(hour=0))
