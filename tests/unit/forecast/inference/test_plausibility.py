"""Implausible outputs are failed steps: the next model answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from coincast_forecast.domain import Cause
from coincast_forecast.fallback import naive
from coincast_forecast.inference.plausibility import implausible_reasons
from coincast_forecast.registry.deployment import Deployment
from coincast_modelkit.candles import Candles
from coincast_modelkit.features import FeatureSpec, Market
from coincast_modelkit.forecasts import Forecasts
from coincast_modelkit.model_input import ModelInput, prepare
from coincast_modelkit.models import TechnicalModel
from tests.unit.forecast.forecast_fakes import walk
from tests.unit.forecast.forecast_kit import FakeModel, live, make_kit

HORIZONS = (1, 7, 30)


def inputs() -> list[ModelInput]:
    return [prepare(walk(coin), Market.of({}), FeatureSpec(names=())) for coin in ("bitcoin", "ethereum")]


def change_quantiles(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Forecasts], Forecasts]:
    def changed(forecasts: Forecasts) -> Forecasts:
        quantiles = forecasts.log_return_quantiles.copy()
        quantiles[0] = change(quantiles[0])
        return dataclasses.replace(forecasts, log_return_quantiles=quantiles)

    return changed


def with_nan(quantiles: np.ndarray) -> np.ndarray:
    quantiles[1, 3] = np.nan
    return quantiles


def swapped(quantiles: np.ndarray) -> np.ndarray:
    quantiles[:, [10, 20]] = quantiles[:, [20, 10]]
    return quantiles


def other_price(forecasts: Forecasts) -> Forecasts:
    return dataclasses.replace(forecasts, last_price=forecasts.last_price * np.array([1000.0, 1.0]))


def negative_volatility(forecasts: Forecasts) -> Forecasts:
    volatility = forecasts.volatility.copy()
    volatility[0, 0] = -0.1
    return dataclasses.replace(forecasts, volatility=volatility)


BROKEN: dict[str, tuple[Callable[[Forecasts], Forecasts], str]] = {
    "nan": (change_quantiles(with_nan), "no finite forecast"),
    "infinite": (change_quantiles(lambda q: np.where(q == q.max(), np.inf, q)), "no finite forecast"),
    "swapped": (change_quantiles(swapped), "not in order"),
    "thousandfold": (change_quantiles(lambda q: q + 8), "a thousand times"),
    "too wide": (change_quantiles(lambda q: q * 100), ""),
    "without width": (change_quantiles(lambda q: q * 0), "without width"),
    "other price": (other_price, "another price"),
    "negative volatility": (negative_volatility, "no finite volatility"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_forecast_is_named_and_the_other_coin_is_not(name: str) -> None:
    break_, sentence = BROKEN[name]
    coins = inputs()
    forecasts = break_(FakeModel("lightgbm").predict(coins, HORIZONS))
    broken, whole = implausible_reasons(forecasts, coins)
    assert broken
    assert sentence in broken
    assert whole == ""


@pytest.mark.parametrize("daily", [0.0, 0.0005, 0.01, 0.05, 0.2])
def test_forecasts_of_calm_and_wild_coins_pass(daily: float) -> None:
    dates = np.arange(np.datetime64("2024-01-01"), np.datetime64("2025-01-01"))
    moves = np.random.default_rng(1).normal(0, 1, len(dates)) * daily
    coin = prepare(
        Candles.of("coin", dates, 100 * np.exp(np.cumsum(moves))), Market.of({}), FeatureSpec(names=())
    )
    for forecasts in (TechnicalModel().predict([coin], HORIZONS), naive.forecast([coin], HORIZONS)):
        assert implausible_reasons(forecasts, [coin]) == [""]


async def test_the_next_model_answers_for_an_implausible_one() -> None:
    kit = make_kit()
    kit.models["lightgbm"].width = 400.0
    forecast = (await kit.one(model="lightgbm")).forecast
    assert forecast.served_by == "technical"
    assert "lightgbm gave a price more than a thousand times the last one" in forecast.reason
    assert Cause.IMPLAUSIBLE.value == "implausible"


class Swapping(FakeModel):
    """Gives each coin the forecast of another."""

    def predict(self, prepared, horizons):
        return super().predict(list(reversed(prepared)), horizons)


async def test_forecasts_of_other_coins_are_a_failed_step() -> None:
    kit = make_kit()
    kit.lineups["lightgbm"] = Deployment(production=live(Swapping("lightgbm")))
    reply = await kit.ask("bitcoin", "ethereum", model="lightgbm")
    assert {s.forecast.served_by for s in reply.forecasts} == {"technical"}
