"""A coin that is just ordinary enough to be learnt from moves no other coin's figures by two percent.

The cases are steps, false prints and standstills below the sizes that leave a coin out, or that cut its
history. They are compared with the undisturbed coin over the days that are learnt from, by the moments that
are pooled over all coins: the volatility line and the sizes of the intervals. Boosted trees take other splits
on any change of any row, however small, so they are no part of it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from coincast_modelkit.candles import Candles, Panel
from coincast_modelkit.models.distributions import LEVELS, residual_shape
from coincast_training.pipeline.dataset import training_data_of
from coincast_training.pipeline.odd_coins import (
    exclusion_reason,
    left_out_notes,
    ordinary_part,
    without_odd_coins,
)
from coincast_training.ports import History
from coincast_training.starter.build import simulated_candles
from coincast_training.trainers.time_window import Window, line_of
from coincast_training.trainers.training_table import Table, choose_spec

DAYS = 900
ANCHORS = (1, 3, 7, 14, 30)
COINS = (
    "bitcoin", "ethereum", "ripple", "cardano", "litecoin", "chainlink", "solana", "dogecoin", "tron",
)  # fmt: skip
OTHERS = {coin: simulated_candles(coin, seed, DAYS) for seed, coin in enumerate(COINS, start=1)}
ORDINARY = simulated_candles("odd", 50, DAYS)
AT = np.arange(DAYS)
# Blocks as for 900 days of ten coins; fixed, so that the weight of the prior is no part of the comparison.
BLOCKS = (900, 600, 300, 180, 90)
LIMIT = 0.02


def multiplied(factors: np.ndarray) -> Candles:
    columns = {name: getattr(ORDINARY, name) * factors for name in ("open", "high", "low", "close")}
    return replace(ORDINARY, **columns)


def frozen(days: int) -> Candles:
    still = (AT >= 300) & (300 + days > AT)
    columns = {
        name: np.where(still, ORDINARY.close[299], getattr(ORDINARY, name))
        for name in ("open", "high", "low", "close")
    }
    return replace(ORDINARY, **columns)


CASES = {
    **{f"rise to {k} times": multiplied(np.where(AT < 300, 1.0, k)) for k in (1.2, 1.5, 1.99, 3.0, 5.5)},
    **{f"fall to 1/{k}": multiplied(np.where(AT < 300, 1.0, 1 / k)) for k in (1.2, 1.5, 1.99, 3.9)},
    **{f"print of {k} times": multiplied(np.where(AT == 300, k, 1.0)) for k in (1.5, 1.99, 2.45)},
    **{f"print of 1/{k}": multiplied(np.where(AT == 300, 1 / k, 1.0)) for k in (1.99, 2.45)},
    "three rises": multiplied(np.prod([np.where(at > AT, 1.0, 3.0) for at in (100, 200, 300)], axis=0)),
    "two rises": multiplied(np.where(AT < 300, 1.0, 2.5) * np.where(AT < 600, 1.0, 2.5)),
    "frozen for 4 days": frozen(4),
    "frozen for 13 days": frozen(13),
}


def figures(panel: Panel) -> tuple[np.ndarray, np.ndarray]:
    """Return the log volatility of the other coins on their last day, and the pooled sizes."""
    rows = Table(panel, panel, choose_spec(panel), ANCHORS).rows
    line = line_of(rows, ANCHORS, Window(rows.origins.min(), rows.origins.max()), 100.0)
    forecast = line.predict(rows.features, rows.spec.names)
    residuals = [
        rows.returns[:, rows.column(h)] / (np.exp(forecast[:, j]) * np.sqrt(h)) for j, h in enumerate(ANCHORS)
    ]
    last = [int(np.flatnonzero(rows.coin == rows.coin_ids.index(coin))[-1]) for coin in COINS]
    return forecast[last], residual_shape(ANCHORS, residuals, blocks=BLOCKS).sizes


@cache
def ordinary(first: int, after: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the figures with the undisturbed coin over some of its days."""
    return figures({**OTHERS, "odd": ORDINARY.rows(first, after)})


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_coin_below_the_limits_moves_no_other_coin_by_two_percent(case: str) -> None:
    candles = CASES[case]
    assert exclusion_reason(candles) == "", "the case is to be one that is learnt from"
    panel, left_out = without_odd_coins({**OTHERS, "odd": candles})
    assert left_out == {}
    first = int(np.searchsorted(ORDINARY.dates, panel["odd"].dates[0]))
    expected_volatility, expected_sizes = ordinary(first, first + len(panel["odd"]))
    volatility, sizes = figures(panel)
    assert np.abs(np.expm1(volatility - expected_volatility)).max() < LIMIT
    for level in (0.5, 0.8, 0.9, 0.95):
        at = int(np.argmin(np.abs(LEVELS - level)))
        change = np.abs(sizes[:, at] / expected_sizes[:, at] - 1)
        assert change.max() < LIMIT, (level, change)


# Which days of an ordinary coin are changed, and the days that are left to learn from.
PARTS = {
    "none": (ORDINARY, (0, DAYS)),
    "a rise to 1.9 times": (multiplied(np.where(AT < 300, 1.0, 1.9)), (0, DAYS)),
    "a doubling": (CASES["rise to 3.0 times"], (300, DAYS)),
    "a doubling near the end": (multiplied(np.where(AT < 700, 1.0, 3.0)), (0, 700)),
    "two of them": (CASES["two rises"], (600, DAYS)),
    "a print of one day": (CASES["print of 2.45 times"], (301, DAYS)),
    "four still days": (frozen(4), (0, DAYS)),
    "thirteen still days": (CASES["frozen for 13 days"], (312, DAYS)),
}


@pytest.mark.parametrize(("candles", "part"), PARTS.values(), ids=PARTS)
def test_the_longest_ordinary_part_is_learnt_from(candles: Candles, part: tuple[int, int]) -> None:
    found = ordinary_part(candles)
    assert found.dates[[0, -1]].tolist() == candles.dates[[part[0], part[1] - 1]].tolist()
    assert len(found) == part[1] - part[0]


def test_a_history_without_a_long_ordinary_part_is_left_out() -> None:
    often = multiplied(np.where(AT // 50 % 2 == 0, 1.0, 2.4))
    kept, reasons = without_odd_coins({**OTHERS, "odd": often})
    assert "odd" not in kept
    assert "no 120 days" in reasons["odd"]


def test_the_manifest_says_which_days_were_learnt_from_and_why() -> None:
    history = History(panel={**OTHERS, "odd": CASES["two rises"]}, source="sandbox")
    data = training_data_of(history, tuple(history.panel), 90)
    notes = left_out_notes(data.left_out, data.shortened)
    assert set(notes) == {"shortened"}
    assert set(notes["shortened"]) == {"odd"}
    assert str(ORDINARY.dates[600]) in notes["shortened"]["odd"]
    assert len(data.panel["odd"]) == DAYS - 600


def test_a_gap_divides_no_history() -> None:
    late = ORDINARY.rows(400, DAYS)
    gapped = replace(
        ORDINARY,
        dates=np.concatenate([ORDINARY.dates[:400], late.dates + np.timedelta64(200, "D")]),
        close=np.concatenate([ORDINARY.close[:400], 5 * late.close]),
    )
    assert len(ordinary_part(gapped)) == DAYS
