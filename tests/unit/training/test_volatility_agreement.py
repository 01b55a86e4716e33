"""The reported volatility agrees with the intervals for every coin; a constant price gives no volatility."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from coincast_modelkit.candles import Candles
from coincast_modelkit.features import Market
from coincast_modelkit.forecasts import PROBABILITIES, standard_deviations
from coincast_modelkit.intervals import cautious_factors
from coincast_modelkit.model_input import prepare
from coincast_modelkit.models.base import ForecastModel
from coincast_modelkit.models.distributions import (
    MAX_DISAGREEMENT,
    ResidualShape,
    agreeing_volatility,
    residual_shape,
)
from coincast_modelkit.models.range_volatility import TechnicalModel
from coincast_training.starter.build import simulated_candles
from coincast_training.trainers.registry import find_fit

DAYS = 500
HORIZONS = (1, 7, 30)
DAY = np.arange(DAYS)
COIN = simulated_candles("odd", 5, DAYS)


def times(factors: np.ndarray) -> Candles:
    """The simulated coin with its four prices multiplied day by day."""
    return replace(COIN, **{name: getattr(COIN, name) * factors for name in ("open", "high", "low", "close")})


def still(close: np.ndarray) -> Candles:
    """A coin whose four prices are equal."""
    return replace(COIN, open=close, high=close, low=close, close=close)


ODD = {
    "step": times(np.where(DAY < 480, 1.0, 100.0)),
    "spike": times(np.where(DAY == 490, 9.0, 1.0)),
    "rug": times(np.where(DAY < 495, 1.0, 0.01)),
    "slow collapse": times(np.exp(-0.2 * np.clip(DAY - 450, 0, 40))),
    "constant": still(np.full(DAYS, 1.0)),
    "frozen": still(np.where(DAY < 440, COIN.close, COIN.close[440])),
    "no volume": replace(COIN, volume=np.zeros(DAYS)),
    "plain": COIN,
}
MARKET = Market.of({"bitcoin": simulated_candles("bitcoin", 1, DAYS)})


@pytest.fixture(scope="module")
def fitted() -> ForecastModel:
    """A small model trained on three plain coins."""
    panel = {c: simulated_candles(c, s, DAYS) for s, c in enumerate(("bitcoin", "ethereum", "ripple"), 1)}
    params = {"anchors": [1, 7, 30], "walk_forward": False}
    return find_fit("lightgbm")(panel, params, 1, progress=lambda *_: None, reference=panel).model


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("trained", [False, True])
def test_volatility_agrees_with_the_intervals(kind: str, trained: bool, fitted: ForecastModel) -> None:
    model = fitted if trained else TechnicalModel()
    made = model.predict([prepare(ODD[kind], MARKET, model.spec)], HORIZONS)
    own = standard_deviations(made.log_return_quantiles) / np.sqrt(np.array(HORIZONS))
    share = made.volatility / own
    assert (share <= MAX_DISAGREEMENT * (1 + 1e-9)).all()
    assert (share >= 1 / MAX_DISAGREEMENT * (1 - 1e-9)).all()
    widest = made.interval_prices(95)[1][0] / made.last_price[0]
    assert (made.volatility[0] * np.sqrt(np.array(HORIZONS)) <= 1.3 * np.log(widest)).all()


@pytest.mark.parametrize("kind", ["constant", "frozen"])
@pytest.mark.parametrize("trained", [False, True])
def test_a_constant_price_gives_no_confident_forecast(
    kind: str, trained: bool, fitted: ForecastModel
) -> None:
    model = fitted if trained else TechnicalModel()
    made = model.predict([prepare(ODD[kind], MARKET, model.spec)], HORIZONS)
    assert (made.rise_of_volatility == 0.5).all()
    assert (np.abs(made.probability_of_rise() - 0.5) < 0.1).all()


def test_the_standard_deviation_of_a_normal_is_met() -> None:
    from scipy.stats import norm

    assert standard_deviations(0.03 * norm.ppf(PROBABILITIES)) == pytest.approx(0.03, rel=0.01)


def test_one_jump_in_the_far_tail_does_not_decide_the_deviation() -> None:
    plain = np.linspace(-2, 2, len(PROBABILITIES))
    jumped = plain.copy()
    jumped[-2:] = 400.0
    assert standard_deviations(jumped) < 1.1 * standard_deviations(plain)


def test_a_volatility_that_agrees_is_left_as_it_is() -> None:
    quantiles = np.linspace(-2, 2, len(PROBABILITIES))[None, None]
    own = standard_deviations(quantiles)
    assert agreeing_volatility(1.1 * own, quantiles, [1]) == pytest.approx(1.1 * own)
    assert agreeing_volatility(3.0 * own, quantiles, [1]) == pytest.approx(MAX_DISAGREEMENT * own)
    assert agreeing_volatility(0.2 * own, quantiles, [1]) == pytest.approx(own / MAX_DISAGREEMENT)


def test_calm_days_take_half_of_a_narrowing_and_all_of_a_widening() -> None:
    assert cautious_factors(np.array([0.81, 0.81, 0.81])) == pytest.approx([0.9, 0.81, 0.81])
    assert cautious_factors(np.array([1.2, 0.9, 1.1])) == pytest.approx([1.2, 0.9, 1.1])
    assert cautious_factors(np.array([0.0, 0.0, 0.0])) == pytest.approx([0.0, 0.0, 0.0])


def test_versions_from_before_the_rule_report_their_volatility_unchanged() -> None:
    plain = residual_shape([1, 7], [np.ones(100), np.ones(60)]).to_dict()
    assert ResidualShape.from_dict(plain).agreeing
    assert not ResidualShape.from_dict({k: v for k, v in plain.items() if k != "agreeing"}).agreeing
