"""A library of ranks: the same paths, and none of the candles that it was made from."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest

from coincast_modelkit.candles import Candles
from coincast_modelkit.scenarios import (
    MAX_DAYS,
    RankLibrary,
    ScenarioLibrary,
    day_scales,
    horizon_scales,
    read_library,
    simulate_paths,
    spread_of,
)
from coincast_modelkit.scenarios.rank_library import EXCURSION_STEP
from tests.unit.modelkit.scenarios.scenario_market import (
    COINS,
    START,
    forecasts_on,
    library_of,
    market,
)

TODAY = START + np.timedelta64(690, "D")


def test_paths_are_those_of_the_whole_library() -> None:
    panel = market()
    whole = library_of(panel)
    ranks = RankLibrary.from_library(whole)
    made = forecasts_on(panel, list(COINS), TODAY)
    expected = simulate_paths(whole.window(TODAY), made, MAX_DAYS)
    found = simulate_paths(ranks.window(TODAY), made, MAX_DAYS)
    np.testing.assert_array_equal(found.origins, expected.origins)
    np.testing.assert_array_equal(found.closes, expected.closes)
    np.testing.assert_array_equal(found.borrowed_share, expected.borrowed_share)
    anchors = [made.horizons.index(h) for h in (1, 3, 7, 14)]
    widths = spread_of(made.log_return_quantiles[:, anchors], made.probabilities)
    step = day_scales(horizon_scales((1, 3, 7, 14), widths, MAX_DAYS))[..., None] * EXCURSION_STEP
    # The floor is single precision of the excursions themselves.
    assert (np.abs(found.highs - expected.highs) <= 0.51 * step + 1e-6).all()
    assert (np.abs(found.lows - expected.lows) <= 0.51 * step + 1e-6).all()


def test_an_earlier_day_has_the_order_of_its_own_window() -> None:
    panel = market()
    whole = library_of(panel)
    early = START + np.timedelta64(500, "D")
    made = forecasts_on(panel, ["bitcoin", "ethereum"], early)
    expected = simulate_paths(whole.window(early), made, MAX_DAYS)
    found = simulate_paths(RankLibrary.from_library(whole).window(early), made, MAX_DAYS)
    np.testing.assert_array_equal(found.closes, expected.closes)


def test_a_coin_of_none_of_the_days_borrows() -> None:
    panel = market()
    ranks = RankLibrary.from_library(library_of({coin: panel[coin] for coin in COINS[:2]}))
    made = forecasts_on(panel, ["bitcoin", "pepe"], TODAY)
    found = simulate_paths(ranks.window(TODAY), made, MAX_DAYS)
    assert found.borrowed_share.tolist() == [0.0, 1.0]
    assert np.asarray(np.corrcoef(found.closes[:, 6]))[0, 1] > 0.3


def bigger(candles: Candles, price: float, power: float) -> Candles:
    """The same coin at another price, whose log moves are all larger by one factor."""
    columns = {
        name: price * (getattr(candles, name) / candles.close[0]) ** power
        for name in ("open", "high", "low", "close")
    }
    return replace(candles, **columns)


@pytest.mark.parametrize(("price", "power"), [(1.0, 1.0), (50_000.0, 1.0), (100.0, 0.25), (0.001, 2.0)])
def test_neither_prices_nor_the_size_of_moves_are_in_it(price: float, power: float) -> None:
    panel = market(begins=(0, 0, 0, 0))
    first = RankLibrary.from_library(library_of(panel))
    other = RankLibrary.from_library(library_of({c: bigger(x, price, power) for c, x in panel.items()}))
    np.testing.assert_array_equal(other.ranks, first.ranks)
    for name in ("highs", "lows"):
        # Rounding of single precision moves a value on the edge of a step by one step at most.
        difference = getattr(other, name).astype(int) - getattr(first, name).astype(int)
        assert np.abs(difference).max() <= 1
        assert (difference != 0).mean() < 0.01


def test_what_is_read_is_what_was_written_in_either_form() -> None:
    whole = library_of(market())
    ranks = RankLibrary.from_library(whole)
    again = read_library(ranks.to_bytes())
    assert isinstance(again, RankLibrary)
    for name in ("ranks", "highs", "lows", "borrowed", "ranged", "origins"):
        np.testing.assert_array_equal(getattr(again, name), getattr(ranks, name))
    assert again.coin_ids == ranks.coin_ids
    assert again.last_origin == whole.last_origin
    assert ranks.to_bytes() == again.to_bytes()
    assert isinstance(read_library(whole.to_bytes()), ScenarioLibrary)


def test_it_holds_no_array_of_moves() -> None:
    with np.load(io.BytesIO(RankLibrary.from_library(library_of(market())).to_bytes())) as file:
        names = set(file.files)
        assert not [name for name in names if np.issubdtype(file[name].dtype, np.floating)]
    assert names == {"format", "coin_ids", "origins", "ranks", "highs", "lows", "borrowed", "ranged"}


def damaged(**changes: object) -> bytes:
    ranks = RankLibrary.from_library(library_of(market()))
    with np.load(io.BytesIO(ranks.to_bytes())) as file:
        arrays = {name: file[name] for name in file.files} | changes
    buffer = io.BytesIO()
    np.savez(buffer, **{name: value for name, value in arrays.items() if value is not None})
    return buffer.getvalue()


BAD = {
    "nothing": b"",
    "text": b"not a file of arrays",
    "cut short": damaged()[:2000],
    "no ranks": damaged(ranks=None),
    "another shape": damaged(ranks=np.zeros((3, 2, 14), dtype=np.uint16)),
    "ranks beyond the origins": damaged(
        ranks=np.full_like(RankLibrary.from_library(library_of(market())).ranks, 60_000)
    ),
    "another format": damaged(format=np.array(3)),
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_what_is_no_library_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="scenario library"):
        read_library(content)
