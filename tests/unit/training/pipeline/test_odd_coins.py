"""Coins whose history is not that of a traded price are left out of a training panel, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from coincast_modelkit.candles import Candles
from coincast_training.pipeline.dataset import training_data_of
from coincast_training.pipeline.odd_coins import (
    exclusion_reason,
    left_out_notes,
    without_odd_coins,
    without_odd_hours,
)
from coincast_training.ports import History
from coincast_training.starter.build import simulated_candles
from coincast_training.starter.hourly import simulated_hours

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


def multiplied(factors: np.ndarray) -> Candles:
    """A simulated coin whose four prices are multiplied day by day."""
    candles = simulated_candles("odd", 5, DAYS)
    return replace(
        candles, **{name: getattr(candles, name) * factors for name in ("open", "high", "low", "close")}
    )


AT = np.arange(DAYS)
ODD = {
    "step": (changed(lambda c: np.where(AT < 200, c, c / 1000)), "fold"),
    "step of all prices": (multiplied(np.where(AT < 200, 1.0, 10.0)), "fold"),
    "spike": (changed(spiked), "fold"),
    "spike of three": (multiplied(np.where(AT == 200, 3.0, 1.0)), "back on the next day"),
    "dip to a third": (multiplied(np.where(AT == 200, 1 / 3, 1.0)), "back on the next day"),
    "constant": (changed(lambda c: np.full(DAYS, 1.0)), "does not change"),
    "pegged": (changed(lambda c: 1 + 0.0004 * np.sin(AT * 2.1)), "its price is fixed"),
    "frozen half": (changed(lambda c: np.where(AT < 200, c, c[200])), "does not change"),
    "frozen for three weeks": (changed(lambda c: np.where((AT > 200) & (AT < 222), c[200], c)), "21 days"),
    "no volume": (replace(simulated_candles("odd", 5, DAYS), volume=np.zeros(DAYS)), "no volume"),
    "no volume on every fourth day": (
        replace(simulated_candles("odd", 5, DAYS), volume=np.where(AT % 4 == 0, 0.0, 1e6)),
        "no volume",
    ),
    "collapse": (changed(collapsed), "lost"),
    "collapse within a day": (multiplied(np.where(AT < 350, 1.0, 0.05)), "fold"),
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
    assert exclusion_reason(simulated_candles("coin", seed, 800)) == ""


def test_a_coin_without_volumes_is_learnt_from() -> None:
    assert exclusion_reason(replace(GOOD["bitcoin"], volume=np.full(DAYS, np.nan))) == ""


def test_a_panel_of_odd_coins_alone_stays() -> None:
    panel = {"odd": ODD["step"][0]}
    assert without_odd_coins(panel) == (panel, {})


def test_a_gap_of_months_is_no_step() -> None:
    candles = simulated_candles("coin", 3, DAYS)
    late = candles.rows(200, DAYS)
    dates = np.concatenate([candles.dates[:200], late.dates + np.timedelta64(200, "D")])
    close = np.concatenate([candles.close[:200], 50 * late.close])
    absent = np.full(DAYS, np.nan)
    gapped = replace(candles, dates=dates, close=close, open=absent, high=absent, low=absent)
    assert exclusion_reason(gapped) == ""


def test_repeating_a_run_keeps_the_coins_it_learnt_from() -> None:
    panel = {**GOOD, "odd": ODD["step"][0]}
    data = training_data_of(History(panel=panel, source="sandbox"), tuple(panel), 90, keep_odd=True)
    assert set(data.panel) == set(panel)
    assert data.left_out == {}


def test_the_manifest_names_who_was_left_out_and_why() -> None:
    _, reasons = without_odd_coins({**GOOD, "odd": ODD["constant"][0]})
    assert left_out_notes(reasons) == {"left_out": reasons}
    assert left_out_notes({}) == {}
    assert "odd" in reasons


def test_odd_hours_are_left_out_by_their_days() -> None:
    good = simulated_hours("bitcoin", 1, 60)
    frozen = replace(
        good, coin_id="odd", close=np.full(len(good), 2.0), high=good.high * np.nan, low=good.low * np.nan
    )
    kept, reasons = without_odd_hours({"bitcoin": good, "odd": frozen})
    assert list(kept) == ["bitcoin"]
    assert "does not change" in reasons["odd"]
