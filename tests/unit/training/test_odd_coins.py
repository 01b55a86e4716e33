"""Coins whose history is not that of a traded price are left out of a training panel, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from coincast_modelkit.candles import Candles
from coincast_training.pipeline.dataset import training_data_of
from coincast_training.pipeline.odd_coins import oddness, without_odd_coins
from coincast_training.ports import History
from coincast_training.starter.build import simulated_candles

DAYS = 400
GOOD = {coin: simulated_candles(coin, seed, DAYS) for seed, coin in enumerate(("bitcoin", "ethereum"))}


def changed(close: Callable[[np.ndarray], np.ndarray]) -> Candles:
    """A simulated coin with another close."""
    candles = simulated_candles("odd", 5, DAYS)
    absent = np.full(DAYS, np.nan)
    return replace(candles, open=absent, high=absent, low=absent, close=close(candles.close.copy()))


def spiked(close: np.ndarray) -> np.ndarray:
    close[200] *= 50
    return close


def collapsed(close: np.ndarray) -> np.ndarray:
    close[300:] *= np.exp(-np.minimum(np.arange(100), 40) * 0.25)
    return close


ODD = {
    "step": (changed(lambda c: np.where(np.arange(DAYS) < 200, c, c / 1000)), "fold"),
    "spike": (changed(spiked), "fold"),
    "constant": (changed(lambda c: np.full(DAYS, 1.0)), "does not change"),
    "frozen half": (changed(lambda c: np.where(np.arange(DAYS) < 200, c, c[200])), "does not change"),
    "no volume": (replace(simulated_candles("odd", 5, DAYS), volume=np.zeros(DAYS)), "no volume"),
    "collapse": (changed(collapsed), "lost"),
}


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_coin_is_left_out_and_changes_nothing_of_the_others(kind: str) -> None:
    candles, words = ODD[kind]
    panel = {**GOOD, "odd": candles}
    data = training_data_of(History(panel=panel, source="sandbox"), tuple(panel), 90)
    alone = training_data_of(History(panel=GOOD, source="sandbox"), tuple(GOOD), 90)
    assert words in data.left_out["odd"]
    assert data.panel.keys() == alone.panel.keys()
    assert data.reference.keys() == alone.reference.keys()


@pytest.mark.parametrize("seed", range(20))
def test_a_simulated_traded_coin_is_learnt_from(seed: int) -> None:
    assert oddness(simulated_candles("coin", seed, 800)) == ""


def test_a_coin_without_volumes_is_learnt_from() -> None:
    assert oddness(replace(GOOD["bitcoin"], volume=np.full(DAYS, np.nan))) == ""


def test_a_panel_of_odd_coins_alone_stays() -> None:
    panel = {"odd": ODD["step"][0]}
    assert without_odd_coins(panel) == (panel, {})
