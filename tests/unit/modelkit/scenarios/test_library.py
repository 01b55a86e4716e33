"""The library of past moves: what it holds, what it borrows, and that it knows nothing of the future."""

from __future__ import annotations

import numpy as np
import pytest

from coincast_modelkit.candles import Candles
from coincast_modelkit.scenarios import MAX_DAYS, ScenarioLibrary, simulate_paths
from coincast_modelkit.scenarios.scales import day_scales, horizon_scales, spread_of
from tests.unit.modelkit.scenarios.scenario_market import (
    COINS,
    START,
    forecasts_on,
    library_of,
    market,
    scale_on,
)


def test_scales_between_anchors_are_linear_in_variance_and_never_fall() -> None:
    found = horizon_scales((1, 3, 7), np.array([0.1, 0.2, 0.15]), 9)
    assert found[0] == pytest.approx(0.1)
    assert found[1] ** 2 == pytest.approx((0.1**2 + 0.2**2) / 2)
    assert np.all(np.diff(found) >= 0)
    assert found[3:7] == pytest.approx([0.2] * 4)  # the narrower forecast at seven days does not count


def test_day_scales_sum_to_the_variance_unless_a_day_would_vanish() -> None:
    scales = np.array([0.1, 0.1, 0.2])
    found = day_scales(scales)
    assert found[0] == pytest.approx(0.1)
    assert found[1] ** 2 == pytest.approx(0.3 * 0.1**2 / 2)
    assert found[2] ** 2 == pytest.approx(0.2**2 - 0.1**2)


def test_the_spread_of_a_normal_distribution_is_its_deviation() -> None:
    panel = market()
    made = forecasts_on(panel, ["bitcoin"], START + np.timedelta64(600, "D"))
    expected = 1.15 * scale_on(panel["bitcoin"], 600)  # the lower half is 1.3 times as wide
    assert spread_of(made.log_return_quantiles[0, 0], made.probabilities) == pytest.approx(expected, rel=1e-6)


def test_moves_are_returns_and_excursions_over_the_scales_forecast_then() -> None:
    panel = market()
    library, coin = library_of(panel), panel["bitcoin"]
    row = 300
    at = int(np.flatnonzero(library.moves.origins == coin.dates[row])[0])
    scale = scale_on(coin, row)
    logs, highs, lows = np.log(coin.close), np.log(coin.high), np.log(coin.low)
    for k in (1, 5, 14):
        expected = (logs[row + k] - logs[row]) / (scale * np.sqrt(k))
        assert library.moves.closes[at, 0, k - 1] == pytest.approx(expected, abs=1e-4)
        above = highs[row + k] - max(logs[row + k - 1], logs[row + k])
        below = min(logs[row + k - 1], logs[row + k]) - lows[row + k]
        assert library.moves.highs[at, 0, k - 1] == pytest.approx(above / scale, abs=1e-3)
        assert library.moves.lows[at, 0, k - 1] == pytest.approx(below / scale, abs=1e-3)


def test_what_is_read_gives_the_paths_of_what_was_written() -> None:
    panel = market()
    library = library_of(panel, keep_origins=300)
    content = library.to_bytes()
    again = ScenarioLibrary.from_bytes(content)
    assert again.digest == library.digest
    day = START + np.timedelta64(699, "D")
    made = forecasts_on(panel, COINS, day)
    first, second = (simulate_paths(x.window(day), made, 14) for x in (library, again))
    for name in ("closes", "highs", "lows"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert library.to_bytes() == content


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half a file", b"[]"])
def test_a_broken_library_is_refused_in_one_sentence(content: bytes) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        ScenarioLibrary.from_bytes(content)


def test_a_window_ends_a_whole_path_before_the_day() -> None:
    library = library_of(market())
    for day in (500, 501, 502):
        window = library.window(START + np.timedelta64(day, "D"), origins=200)
        assert window.origins[-1] == START + np.timedelta64(day - MAX_DAYS, "D")
        assert len(window) == 200


@pytest.mark.parametrize("day", [480, 481, 482, 610])
def test_nothing_after_the_day_reaches_its_scenarios(day: int) -> None:
    """Blanking all that came after a day, and keeping it, give the same paths of that day."""
    panel, at = market(), START + np.timedelta64(day, "D")
    before = {coin: c.until(at) for coin, c in panel.items()}
    made = forecasts_on(panel, COINS, at)
    whole, blanked = library_of(panel), library_of(before)
    first, second = (simulate_paths(x.window(at, 300), made, 14) for x in (whole, blanked))
    np.testing.assert_array_equal(first.origins, second.origins)
    for name in ("closes", "highs", "lows"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_a_later_library_keeps_the_moves_of_its_old_days() -> None:
    """Moving the end by a day at a time adds an origin and changes none, borrowed ones included."""
    panel = market()
    last = library_of({coin: c.until(START + np.timedelta64(600, "D")) for coin, c in panel.items()}).moves
    for day in (601, 602):
        now = library_of({coin: c.until(START + np.timedelta64(day, "D")) for coin, c in panel.items()}).moves
        assert len(now.origins) == len(last.origins) + 1
        np.testing.assert_array_equal(now.closes[:-1], last.closes)
        np.testing.assert_array_equal(now.highs[:-1], last.highs)
        last = now


def test_absent_coins_borrow_and_are_marked() -> None:
    panel = market()
    library = library_of(panel)
    moves = library.moves
    own = moves.origins >= START + np.timedelta64(440, "D")
    np.testing.assert_array_equal(~moves.borrowed[:, 3], own)
    assert not moves.borrowed[:, :2].any()
    assert np.isfinite(moves.closes).all()
    assert np.isfinite(moves.highs).all()
    # What is borrowed moves with the market as the coin's own moves do.
    for rows in (own, ~own):
        correlation = np.corrcoef(moves.closes[rows, 3, 0], moves.closes[rows, :2, 0].mean(axis=1))[0, 1]
        assert correlation > 0.5
    # An earlier origin's distance from the mean, not this one's: the borrowed coin is no copy of another.
    for other in range(3):
        assert not np.array_equal(moves.closes[~own, 3, 0], moves.closes[~own, other, 0])


def test_a_coin_that_is_not_in_the_library_borrows_every_path() -> None:
    panel = market()
    day = START + np.timedelta64(699, "D")
    library = library_of({coin: panel[coin] for coin in COINS[:3]})
    paths = simulate_paths(library.window(day), forecasts_on(panel, COINS, day), 7)
    assert paths.borrowed_share.tolist()[3] == 1.0
    assert paths.borrowed_share.tolist()[0] == 0.0
    assert np.isfinite(paths.highs).all()


def test_a_coin_without_ranges_takes_those_of_another() -> None:
    panel = market()
    bare = Candles.of("ethereum", panel["ethereum"].dates, panel["ethereum"].close)
    library = library_of({**panel, "ethereum": bare})
    day = START + np.timedelta64(699, "D")
    paths = simulate_paths(library.window(day), forecasts_on(panel, COINS, day), 7)
    assert paths.ranged.all()
    assert (paths.highs[1] > np.maximum(paths.closes[1], 0)).any()


def test_without_any_range_paths_say_so() -> None:
    panel = {coin: Candles.of(coin, c.dates, c.close) for coin, c in market().items()}
    day = START + np.timedelta64(699, "D")
    paths = simulate_paths(library_of(panel).window(day), forecasts_on(panel, COINS, day), 7)
    assert not paths.ranged.any()


def test_too_short_a_library_says_what_is_needed() -> None:
    library = library_of(market())
    with pytest.raises(ValueError, match="100 are needed"):
        library.window(START + np.timedelta64(100, "D"))


def test_only_the_newest_origins_are_kept() -> None:
    whole, kept = library_of(market()), library_of(market(), keep_origins=250)
    assert len(kept.moves.origins) == 250
    assert kept.moves.origins[-1] == whole.moves.origins[-1]
    assert len(kept.to_bytes()) < len(whole.to_bytes()) / 2
