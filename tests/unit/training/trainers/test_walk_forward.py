"""Folds are counted back from the last day, and a longer walk reuses the windows of a shorter one.

Forecasts of the same days in a longer table may differ in the last digit, since they are computed in other
blocks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from coincast_modelkit.features import FeatureSpec
from coincast_modelkit.models.lightgbm import LightgbmModel
from coincast_training.executors.inline import InlineExecutor
from coincast_training.trainers.lightgbm.trainer import fit
from coincast_training.trainers.oos_corrections import Outputs
from coincast_training.trainers.params import WalkParams
from coincast_training.trainers.time_window import Window
from coincast_training.trainers.training_table import Rows
from coincast_training.trainers.walk_forward import RECORD_HORIZONS, Walked, folds_of, walk
from tests.unit.training.evaluation_candles import panel

FIRST = np.datetime64("2020-01-01", "D")
DAY = np.timedelta64(1, "D")
PARAMS = WalkParams(anchors=(1, 7), mean_anchors=(1,), folds=3, step_days=40)


def table(days: int, *, late: bool = True) -> Rows:
    """Three coins, or two without the one that begins after 200 days, with the same history in any table."""
    rng = np.random.default_rng(1)
    names = ("avalanche-2", "bitcoin", "ethereum") if late else ("bitcoin", "ethereum")
    starts = {"avalanche-2": 200, "bitcoin": 0, "ethereum": 0}
    steps = {name: 0.03 * rng.standard_normal(2000) for name in starts}
    levels = {name: np.concatenate([[0.0], np.cumsum(step)]) for name, step in steps.items()}
    coins = [(i, name, np.arange(starts[name], days)) for i, name in enumerate(names)]
    day = np.concatenate([d for *_, d in coins])
    returns = np.full((len(day), len(RECORD_HORIZONS)), np.nan)
    for j, h in enumerate(RECORD_HORIZONS):
        ahead = [
            np.where(d + h < days, levels[name][d + h] - levels[name][d], np.nan) for _, name, d in coins
        ]
        returns[:, j] = np.concatenate(ahead)
    return Rows(
        coin_ids=names,
        spec=FeatureSpec(("zret_1",)),
        horizons=RECORD_HORIZONS,
        coin=np.concatenate([np.full(len(d), i) for i, _, d in coins]),
        origins=FIRST + day,
        prices=np.exp(np.concatenate([levels[name][d] for _, name, d in coins])),
        regime=day % 3,
        features=np.zeros((len(day), 1)),
        returns=returns,
        log_volatility=np.where(np.isfinite(returns), np.log(0.03), np.nan),
    )


@dataclass(frozen=True)
class Level:
    """A model that forecasts one volatility for all coins and days, from the window that it was fitted on."""

    log_volatility: float

    def outputs(self, rows: Rows, at: np.ndarray) -> Outputs:
        shape = (len(at), len(PARAMS.anchors))
        line = np.full(shape, self.log_volatility) + rows.prices[at, None] / 100
        return Outputs(at, line, np.zeros(shape), np.zeros((len(at), 1)), np.zeros(shape))


@dataclass(frozen=True)
class LevelRecipe:
    """Fits the level of a window, and remembers the last day of each window that it fitted."""

    rows: Rows
    fitted: list[str] = field(default_factory=list)

    def fit(self, window: Window) -> tuple[Level, Outputs]:
        self.fitted.append(str(window.last_close))
        known = window.known(self.rows, 1)
        model = Level(float(np.log(np.std(self.rows.returns[known, 0]))))
        return model, model.outputs(self.rows, window.known(self.rows, 0)[-60:])


def silent(fraction: float, stage: str) -> None:
    assert 0 <= fraction <= 1


def walked(recipe: LevelRecipe, store: dict[tuple[Any, ...], Any] | None = None) -> Walked[Level]:
    return walk(recipe, PARAMS, executor=InlineExecutor(), progress=silent, store=store)


@pytest.mark.parametrize(
    ("days", "params", "closes", "length"),
    [
        (400, {}, [239, 279, 319, 359], 40),
        (420, {}, [219, 259, 299, 339, 379], 40),
        (400, {"folds": 10}, [*range(209, 399, 19)], 19),
        (400, {"step_days": 2000}, [201, 267, 333], 66),
        (400, {"first_test": "2020-12-01"}, [336, 357, 378], 21),
        (90, {}, [65, 73, 81], 8),
        (64, {}, [49, 56], 7),
        (20, {}, [], 0),
    ],
)
def test_folds_are_counted_back_from_the_last_day(
    days: int, params: dict[str, Any], closes: list[int], length: int
) -> None:
    rows = table(days, late=False)
    params = {"folds": 3, "step_days": 40, **params}
    folds = folds_of(rows, WalkParams(anchors=(1, 7), mean_anchors=(1,), **params))
    assert [int((f.test_from - DAY - FIRST) / DAY) for f in folds] == closes
    assert [int((f.test_to - f.test_from) / DAY) + 1 for f in folds] == [length] * len(closes)
    assert not folds or folds[-1].test_to == rows.origins.max()


@pytest.mark.parametrize(
    ("days", "new"),
    [
        pytest.param(440, [439], id="one fold later"),
        pytest.param(480, [439, 479], id="two folds later"),
        pytest.param(441, [240, 280, 320, 360, 400, 440], id="no common windows"),
    ],
)
def test_a_longer_walk_fits_only_new_windows_and_gives_the_same_result(days: int, new: list[int]) -> None:
    store: dict[tuple[Any, ...], Any] = {}
    earlier, later, alone = (LevelRecipe(table(d)) for d in (400, days, days))
    walked(earlier, store)
    again, fresh = walked(later, store), walked(alone)
    assert sorted(later.fitted) == [str(FIRST + day * DAY) for day in new]
    assert_same(again, fresh)


def test_windows_of_folds_of_another_length_are_not_taken_over() -> None:
    """The folds of 181 days have 20 days, those of 184 have 21; both have a fold after the same day."""
    store: dict[tuple[Any, ...], Any] = {}
    shorter, longer, alone = (LevelRecipe(table(d, late=False)) for d in (181, 184, 184))
    walked(shorter, store)
    again = walked(longer, store)
    assert set(shorter.fitted) & set(longer.fitted)
    assert_same(again, walked(alone))


def test_a_refit_of_lightgbm_takes_over_windows_and_is_the_same_model() -> None:
    few = {"rounds": 8, "min_data_in_leaf": 40}
    params = {"anchors": (1, 7), "folds": 2, "step_days": 30, "volatility": few, "mean": few}
    store: dict[tuple[Any, ...], Any] = {}
    candles = panel()
    earlier = {c: x.until(x.dates[-1] - 30 * DAY) for c, x in candles.items()}
    fit(earlier, params, 1, progress=silent, store=store)
    windows = len(store)
    again = fit(candles, params, 1, progress=silent, store=store)
    fresh = fit(candles, params, 1, progress=silent)
    assert len(store) == windows + 1
    one, two = again.walk_forward, fresh.walk_forward
    np.testing.assert_array_equal(one.origins, two.origins)
    np.testing.assert_allclose(one.log_return_quantiles, two.log_return_quantiles, rtol=1e-12)
    assert isinstance(again.model, LightgbmModel) and isinstance(fresh.model, LightgbmModel)
    shapes = again.model.shape, fresh.model.shape
    np.testing.assert_allclose(shapes[0].sizes, shapes[1].sizes, rtol=1e-12)
    np.testing.assert_allclose(shapes[0].regime_widths, shapes[1].regime_widths, rtol=1e-12)


def assert_same(one: Walked[Level], two: Walked[Level]) -> None:
    np.testing.assert_array_equal(one.record.log_return_quantiles, two.record.log_return_quantiles)
    np.testing.assert_array_equal(one.record.origins, two.record.origins)
    np.testing.assert_array_equal(one.record.coin_ids, two.record.coin_ids)
    last = one.known.rows.origins.max()
    shapes = [walk.known.at(last, walk.later).shape for walk in (one, two)]
    np.testing.assert_array_equal(shapes[0].regime_widths, shapes[1].regime_widths)
    assert one.fitted == two.fitted


def test_positions_follow_the_coin_and_the_day_into_another_table() -> None:
    old, new = table(300, late=False), table(400)
    at = np.array([0, 299, 300, 450])
    found = new.positions(old, at)
    assert [new.coin_ids[new.coin[i]] for i in found] == [old.coin_ids[old.coin[i]] for i in at]
    np.testing.assert_array_equal(new.origins[found], old.origins[at])
    np.testing.assert_array_equal(new.prices[found], old.prices[at])


@pytest.mark.parametrize("at", [[100], [599]])
def test_a_row_that_the_other_table_lacks_is_an_error(at: list[int]) -> None:
    with pytest.raises(ValueError, match="lacks a coin or a day"):
        table(300, late=False).positions(table(400), np.array(at))
