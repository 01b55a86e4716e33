"""The ladder: who answers when a model raises, hangs, gives NaN or is not there, and what the reply says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from coincast_chassis import context
from coincast_chassis.errors import InvalidInput, NotFound, NotReady
from coincast_forecast.fallback.executor import FALLBACK_CHAINS, step_limit_seconds
from coincast_forecast.registry.deployment import Deployment
from coincast_modelkit.features import REFERENCE_COINS
from tests.unit.forecast.forecast_fakes import walk
from tests.unit.forecast.forecast_kit import FakeModel, Kit, live, make_kit


@pytest.fixture
def kit() -> Iterator[Kit]:
    kit = make_kit()
    yield kit
    for model in kit.models.values():
        model.hang.set()


async def test_the_requested_model_answers(kit: Kit) -> None:
    for model in ("ml_ensemble", "lightgbm", "lstm"):
        forecast = (await kit.one(model=model)).forecast
        assert (forecast.served_by, forecast.degraded, forecast.reason) == (model, False, "")


async def test_each_step_down_in_turn(kit: Kit) -> None:
    for number, broken in enumerate(("ml_ensemble", "lightgbm", "lstm")):
        kit.models[broken].raises = RuntimeError("secret of the house")
        kit.source.next_day()
        kit.clock.advance(61)
        await kit.histories.check_days()
        forecast = (await kit.one(model="ml_ensemble")).forecast
        assert forecast.served_by == FALLBACK_CHAINS["ml_ensemble"][number + 1]
        assert forecast.degraded
        assert forecast.model == "ml_ensemble"
        assert f"{broken} failed" in forecast.reason
        assert "secret" not in forecast.reason


async def test_nan_of_one_coin_costs_that_coin_alone(kit: Kit) -> None:
    kit.models["lightgbm"].nan_coins = {"bitcoin"}
    reply = await kit.ask("bitcoin", "ethereum", model="lightgbm")
    assert [s.forecast.served_by for s in reply.forecasts] == ["technical", "lightgbm"]
    assert "finite" in reply.forecasts[0].forecast.reason


async def test_a_model_that_hangs_costs_one_limit_and_then_nothing() -> None:
    kit = make_kit(step_seconds=0.5)
    await kit.ask("bitcoin", "ethereum", "cardano", model="technical")
    kit.models["lightgbm"].hang.clear()
    began = time.perf_counter()
    first = (await kit.one(model="lightgbm")).forecast
    took = time.perf_counter() - began
    assert first.served_by == "technical"
    assert "no answer within" in first.reason
    assert 0.4 < took < 30
    second = (await kit.one("ethereum", model="lightgbm")).forecast
    assert "hangs" in second.reason
    kit.models["lightgbm"].hang.set()
    for _ in range(100):
        third = (await kit.one("cardano", model="lightgbm")).forecast
        if third.served_by == "lightgbm":
            break
        await asyncio.sleep(0.02)
    assert third.served_by == "lightgbm"


async def test_the_last_price_answers_where_technical_fails_too(kit: Kit) -> None:
    broken = FakeModel("technical", "")
    broken.raises = RuntimeError("no")
    kit.lineups["technical"] = Deployment(production=live(broken))
    kit.models["lightgbm"].raises = RuntimeError("no")
    forecast = (await kit.one(model="lightgbm", days=30)).forecast
    assert forecast.served_by == "last_price"
    assert forecast.curve.prices == (forecast.last_price,) * 30
    widths = [
        u - lo
        for lo, u in zip(forecast.curve.intervals[0].lower, forecast.curve.intervals[0].upper, strict=True)
    ]
    assert widths == sorted(widths)
    assert widths[0] > 0.05 * forecast.last_price


@pytest.mark.slow
async def test_a_short_deadline_leaves_time_for_the_steps_below(kit: Kit) -> None:
    kit.models["lightgbm"].seconds = 3
    await kit.one(model="technical")
    with context.bind(deadline_seconds=4):
        forecast = (await kit.one(model="lightgbm")).forecast
    assert forecast.served_by == "technical"


@pytest.mark.parametrize(("left", "expected"), [(None, 2), (10, 2), (1, 0.5), (-1, 0)])
def test_a_step_takes_at_most_half_of_what_is_left(left: float | None, expected: float) -> None:
    assert step_limit_seconds(2, 1, left) == expected


def test_many_coins_may_take_longer() -> None:
    assert 5 < step_limit_seconds(2, 250, None) < 20


async def test_errors_are_per_coin_and_name_the_fix(kit: Kit) -> None:
    kit.source.coins["newborn"] = walk("newborn", days=12)
    kit.lineups["lstm"] = Deployment(production=live(FakeModel("lstm", max_horizon_days=10)))
    reply = await kit.ask("nothing", "newborn", "bitcoin", model="lightgbm")
    assert [s.forecast.coin_id for s in reply.forecasts] == ["bitcoin"]
    errors = dict(reply.errors)
    assert isinstance(errors["nothing"], NotFound)
    assert isinstance(errors["newborn"], NotReady)
    assert "needs 30" in errors["newborn"].message
    [(_, beyond)] = (await kit.ask("bitcoin", model="lstm", days=11)).errors
    assert isinstance(beyond, InvalidInput)
    assert (beyond.field, "10 days" in beyond.message) == ("days", True)


async def test_many_coins_are_one_batch_and_identical_ones_in_flight_are_one(kit: Kit) -> None:
    kit.models["lightgbm"].seconds = 0.1
    await asyncio.gather(*(kit.ask(*REFERENCE_COINS, model="lightgbm") for _ in range(20)))
    assert kit.models["lightgbm"].batches == [REFERENCE_COINS]


async def test_coins_that_arrive_meanwhile_form_the_next_batch(kit: Kit) -> None:
    await kit.ask(*REFERENCE_COINS, model="technical")
    kit.models["lightgbm"].seconds = 0.2
    requested = [asyncio.create_task(kit.one(coin, model="lightgbm")) for coin in REFERENCE_COINS]
    await asyncio.gather(*requested)
    batches = kit.models["lightgbm"].batches
    assert len(batches) <= 3
    assert sorted(coin for batch in batches for coin in batch) == sorted(REFERENCE_COINS)


async def test_a_caller_who_leaves_does_not_take_the_others_along(kit: Kit) -> None:
    kit.models["lightgbm"].seconds = 0.2
    first, second = (asyncio.create_task(kit.one(model="lightgbm")) for _ in range(2))
    await asyncio.sleep(0.1)
    first.cancel()
    assert (await second).forecast.served_by == "lightgbm"
    assert len(kit.models["lightgbm"].batches) == 1


async def test_a_new_day_makes_a_new_forecast_and_nothing_else_does(kit: Kit) -> None:
    first = (await kit.one(model="lightgbm")).forecast
    kit.clock.advance(3600)
    await kit.histories.check_days()
    again = (await kit.one(model="lightgbm")).forecast
    assert (again.forecast_id, len(kit.models["lightgbm"].batches)) == (first.forecast_id, 1)
    kit.source.next_day()
    await kit.histories.check_days()
    new = (await kit.one(model="lightgbm")).forecast
    assert (new.day - first.day).days == 1
    assert new.forecast_id != first.forecast_id
    assert len(kit.models["lightgbm"].batches) == 2
